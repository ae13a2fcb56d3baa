# SPDX-License-Identifier: Apache-2.0
"""The best of several takes of a text: the loop of speech, as the reading loop is that of text.

Say it -> judge the sound -> listen -> judge what was heard -> is it near what was asked? else say it again, a little
differently. EmoNet-Voice keeps the first take, and its raters do not hear the target in 47 % of its clips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from generators.parsing import storable
from generators.speech.audio import join_pieces
from generators.speech.delivery import DeliveryMap, vary
from generators.speech.texts import clean, speakable, split_text
from generators.speech.voices import SAMPLE_RATE, Samples, Speech, UnspeakableError, Voice
from validators.clip_gates import ClipBounds, Take, is_finite, judge_sound, judge_take, speaker_similarity
from validators.delivery import delivery_distance
from validators.prosody import measure_prosody
from validators.readings import RealisedRule, make_reading
from validators.records import Perceived, RejectedRow
from validators.roles import EmotionListener, Heard, Listener, Sound
from validators.speech_records import Delivery, PlannedClip, Prosody
from validators.taxonomy import Label
from validators.transcripts import word_error_rate
from validators.verdicts import Verdict

STAGE = "speech"
REFERENCES = {
    "en": "The train to the coast leaves at seven, and there is a seat by the window.",
    "es": "El tren a la costa sale a las siete, y hay un asiento junto a la ventana.",
    "fr": "Le train pour la côte part à sept heures, et il y a une place près de la fenêtre.",
}
"""What a voice says, without any delivery, to be known again by; long enough for a speaker embedding (4 s)."""


@dataclass(frozen=True, slots=True)
class TakeSettings:
    """How many takes are made of a clip, and when one is good enough.

    A take nearer than `near` to what was asked, in just noticeable differences, ends the search, unless a listener for
    emotion hears something else in it. It hears the intention where `rule` holds.
    """

    takes: int = 3
    near: float = 1.5
    bounds: ClipBounds = field(default_factory=ClipBounds)
    rule: RealisedRule = field(default_factory=lambda: RealisedRule(rank=1))


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """The take that was kept, and what was heard in it."""

    samples: Samples
    delivery: Delivery
    """What was asked."""
    controls: Delivery
    """What the engine was given in this take."""
    measured: Prosody
    neutral: Prosody
    heard: Heard
    wer: float
    speaker_similarity: float
    distance: float
    perceived: tuple[Perceived, ...] | None = None
    """What the listener for emotion heard; None without one."""
    realised: bool | None = None
    """Whether it heard the intention; None too where it does not know the label."""
    attempts: int = 1
    """Takes that were made until the search ended."""
    passed_at_first: bool = True

    def without_samples(self) -> Self:
        """The same without its sound and what was heard frame by frame, to be sent from process to process."""
        nothing = np.zeros(0, dtype=np.float32)
        return replace(self, samples=nothing, heard=replace(self.heard, f0_hz=nothing))


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What the takes of one clip have in common: the text, the neutral take of it, and who the voice is."""

    planned: PlannedClip
    text: str
    delivery: Delivery
    neutral: Prosody
    speaker: NDArray[np.float32]


@dataclass(eq=False)
class Studio:
    """A voice, a listener, and what they need of the recipe; it remembers how each of its voices sounds."""

    voice: Voice
    listener: Listener
    map: DeliveryMap
    labels: Mapping[str, Label]
    settings: TakeSettings = field(default_factory=TakeSettings)
    emotion: EmotionListener | None = None
    _speakers: dict[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)

    def make(self, planned: PlannedClip) -> Made | RejectedRow:
        """Make one clip: the take that passes all gates and comes nearest to what was asked."""
        text = clean(planned.text)
        verdict = speakable(text)
        if not verdict.accepted:
            return _rejected(planned, "text", [verdict])
        try:
            return self._best_take(planned, text)
        except UnspeakableError as error:
            return _rejected(planned, "voice", [Verdict.reject("unspeakable", str(error))])

    def _best_take(self, planned: PlannedClip, text: str) -> Made | RejectedRow:
        delivery = self._followed(self.map.deliver(self.labels[planned.intended.label], planned.intended.intensity))
        samples = self._neutral(planned, text)
        if isinstance(samples, Verdict):
            return _rejected(planned, "voice", [samples])
        speaker = self._speaker(planned)
        if isinstance(speaker, Verdict):
            return _rejected(planned, "voice", [speaker])
        neutral = self._sound(planned, samples)
        pitch, frame_s = self.listener.track_pitch(neutral)
        asked = _Asked(
            planned,
            text,
            delivery,
            measure_prosody(neutral.samples, neutral.sample_rate, pitch, frame_s),
            speaker,
        )
        takes: list[Made | Verdict] = []
        for number in range(self.settings.takes):
            takes.append(self._take(asked, vary(delivery, number, seed=planned.seed)))
            last = takes[-1]
            if isinstance(last, Made) and last.distance <= self.settings.near and last.realised is not False:
                break
        passed = [take for take in takes if isinstance(take, Made)]
        if not passed:
            return _rejected(planned, "listener", [take for take in takes if isinstance(take, Verdict)])
        best = min(passed, key=lambda take: (take.realised is False, take.distance))
        return replace(best, attempts=len(takes), passed_at_first=isinstance(takes[0], Made))

    def _neutral(self, planned: PlannedClip, text: str) -> Samples | Verdict:
        """Say the text without a delivery, with another seed if it is no sound; else why nothing can be compared."""
        samples = self._say(planned, text, Delivery())
        if not is_finite(samples).accepted:
            samples = self._say(planned.model_copy(update={"seed": planned.seed + 1}), text, Delivery())
        verdict = is_finite(samples)
        return samples if verdict.accepted else verdict

    def _take(self, asked: _Asked, controls: Delivery) -> Made | Verdict:
        """Make one take and judge it by what was asked, however its controls stray from that."""
        samples = self._say(asked.planned, asked.text, controls, felt=True)
        verdict = judge_sound(samples, SAMPLE_RATE, self.settings.bounds)
        if not verdict.accepted:
            return verdict
        sound = self._sound(asked.planned, samples)
        heard = self.listener.listen(sound)
        take = Take(
            text=asked.text,
            language=asked.planned.language,
            heard=heard,
            measured=measure_prosody(samples, SAMPLE_RATE, heard.f0_hz, heard.frame_s),
            neutral=asked.neutral,
            speaker=asked.speaker,
            delivery=asked.delivery,
        )
        verdict = judge_take(take, self.settings.bounds)
        if not verdict.accepted:
            return verdict
        perceived, realised = self._feel(asked.planned.intended.label, sound)
        return Made(
            samples=samples,
            delivery=asked.delivery,
            controls=controls,
            measured=take.measured,
            neutral=take.neutral,
            heard=heard,
            wer=word_error_rate(take.text, heard.transcript, language=take.language),
            speaker_similarity=speaker_similarity(heard.speaker, take.speaker),
            distance=delivery_distance(asked.delivery, take.measured, take.neutral),
            perceived=perceived,
            realised=realised,
        )

    def _feel(self, label: str, sound: Sound) -> tuple[tuple[Perceived, ...] | None, bool | None]:
        """What the listener for emotion hears in a take, and whether that is the label."""
        if self.emotion is None:
            return None, None
        reading = make_reading(self.emotion.labels, self.emotion.hear(sound).tolist(), self.emotion.thresholds.tolist())
        known = label in reading.labels
        return reading.perceived(), self.settings.rule.holds(reading, label) if known else None

    def _followed(self, delivery: Delivery) -> Delivery:
        """What of a delivery the voice follows; what it cannot do is not asked of it."""
        return Delivery(**{name: value for name, value in delivery.model_dump().items() if name in self.voice.controls})

    def _say(self, planned: PlannedClip, text: str, delivery: Delivery, *, felt: bool = False) -> Samples:
        """Say a text piece by piece, with the intended feeling or without."""
        intended = planned.intended
        feeling, strength = "", 1.0
        if felt and intended.intensity is not None:
            label = self.labels[intended.label]
            feeling, strength = label.canonical or label.name, self.map.strength(intended.intensity)
        pieces = [Speech(piece, planned.voice, delivery, planned.seed, feeling, strength) for piece in split_text(text)]
        return join_pieces([self.voice.speak(piece) for piece in pieces])

    def _sound(self, planned: PlannedClip, samples: Samples) -> Sound:
        return Sound(samples, SAMPLE_RATE, planned.language)

    def _speaker(self, planned: PlannedClip) -> NDArray[np.float32] | Verdict:
        """Whom the voice sounds like, from a sentence that is the same for all voices of a language."""
        key = planned.voice, planned.language
        if key not in self._speakers:
            sentence = REFERENCES.get(planned.language, REFERENCES["en"])
            samples = self.voice.speak(Speech(sentence, planned.voice))
            verdict = is_finite(samples)
            if not verdict.accepted:
                return verdict
            self._speakers[key] = self.listener.listen(self._sound(planned, samples)).speaker
        return self._speakers[key]


def _rejected(planned: PlannedClip, gate: str, failed: Sequence[Verdict]) -> RejectedRow:
    return RejectedRow(
        planned_id=planned.clip_id,
        stage=STAGE,
        gate=gate,
        reason=failed[-1].reason or "",
        detail="; ".join(f"{verdict.reason}: {verdict.detail}" for verdict in failed)[:400],
        label=planned.intended.label,
        attempt=len(failed),
        seed=planned.seed,
        reply=storable(planned.text),
    )
