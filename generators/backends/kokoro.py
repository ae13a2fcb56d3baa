# SPDX-License-Identifier: Apache-2.0
"""Kokoro-82M in this process on one CPU thread: 31 voices of three languages, with the prosody under control.

A style is a table of 510 rows (one per length of text in tokens) of 256 numbers: the first half is the timbre, the
second drives F0, energy and durations. So the manner of one voice can be mixed into another's.
"""

import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.backends.kokoro_graph import F0_OUT, VOICED_HZ, add_controls
from generators.backends.phonemes import PAUSES, phonemes, vocabulary
from generators.backends.sound import finish
from generators.speech.voices import (
    ALL_CONTROLS,
    Samples,
    Speech,
    UnspeakableError,
    Voice,
    VoiceSettings,
    check_script,
    check_voice,
)
from validators.errors import InputError, ModelError
from validators.speech_records import Delivery, Gender, VoiceCard

LICENCE = "Apache-2.0"  # of the weights and of the voices
VOICES = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
    "ef_dora", "em_alex", "em_santa", "ff_siwis",
)  # fmt: skip
"""First letter: American, British, Spanish, French; second: female, male."""
LANGUAGES = {"a": "en", "b": "en", "e": "es", "f": "fr"}
GENDERS: Mapping[str, Gender] = {"f": "female", "m": "male"}
WHISPERER = "af_nicole"
"""Soft and slow, with little movement: lends its manner, and speaks itself in no clip, since the gate for sound (DNSMOS
3.0) would let none pass: of eight clips, none did."""
MAX_TOKENS = 510
STYLE = (MAX_TOKENS, 256)
TIMBRE = 128
BREATHS = (0.0, 0.5, 1.0)  # where the pivot is measured; of two voices, a parabola was within 0.1 semitones between
CALIBRATION = {
    "en": "Well, there it is, on the table.",
    "es": "Bueno, ahí está, sobre la mesa.",
    "fr": "Eh bien, il est là, sur la table.",
}


def open_voice(settings: VoiceSettings) -> Voice:
    """Load the ONNX file `settings.weights` and the npm tarball `settings.voices`; there are no options.

    Raises `InputError` where one is not given and `ModelError` where it is not what it should be.
    """
    if settings.weights is None or settings.voices is None:
        raise InputError(
            "the kokoro voice needs weights and voices",
            next_step="Use the packaged weights kokoro-82m, and its voices.",
        )
    if settings.options:
        raise InputError(f"the kokoro voice has no option {', '.join(settings.options)}")
    return KokoroVoice(_open_session(settings.weights), _read_styles(settings.voices), settings)


@dataclass(frozen=True, slots=True)
class _Line:
    """A text as the network takes it: its tokens without the pads, and which of them are pauses."""

    tokens: tuple[int, ...]
    pauses: NDArray[np.bool_]


class KokoroVoice:
    """Says one text a call; calls from several threads share the session, each using one thread."""

    controls = ALL_CONTROLS

    def __init__(self, session: Any, styles: Mapping[str, NDArray[np.float32]], settings: VoiceSettings) -> None:
        self.model = f"{settings.name}@{settings.revision}" if settings.revision else settings.name
        licence = settings.licence or LICENCE
        self.voices: Mapping[str, VoiceCard] = {
            name: VoiceCard(name=name, language=LANGUAGES[name[0]], gender=GENDERS[name[1]], licence=licence)
            for name in VOICES
            if name != WHISPERER
        }
        self._session = session
        self._styles = styles
        self._vocabulary = vocabulary()
        self._pivots: dict[tuple[str, float], float] = {}

    def speak(self, speech: Speech) -> Samples:
        """Say it; the seed changes nothing, since the network draws no random numbers.

        Raises `UnspeakableError` for a text without words, of more than 510 tokens or in another script.
        """
        card = check_voice(speech.voice, self.voices)
        check_script(speech.text)
        line = self._read(speech.text, card)
        samples = self._run("audio", line, card.name, speech.delivery, self._controls(card, speech.delivery))
        if not np.isfinite(samples).all():
            raise ModelError(f"{self.model} gave a sample that is not finite", where=f"{card.name}: {speech.text!r}")
        return finish(samples, speech.delivery)

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _read(self, text: str, card: VoiceCard) -> _Line:
        spelled = phonemes(text, language=card.language, british=card.name[0] == "b")
        letters = [letter for letter in spelled if letter in self._vocabulary]
        if not any(letter.isalpha() and letter not in "ˈˌːʰʲ" for letter in letters):
            raise UnspeakableError(f"no word to say in {text!r}")
        if len(letters) > MAX_TOKENS:
            raise UnspeakableError(f"{len(letters)} tokens are too many for one piece, at most {MAX_TOKENS}")
        marks = np.array([letter in PAUSES for letter in letters])
        after = np.array([letter == " " for letter in letters]) & np.roll(marks, 1)
        after[0] = False
        # A space inside a phrase is no pause: words run into each other there, and stretching it blurs them.
        return _Line(tuple(self._vocabulary[letter] for letter in letters), marks | after)

    def _run(
        self, output: str, line: _Line, voice: str, delivery: Delivery, controls: Mapping[str, float]
    ) -> NDArray[np.float32]:
        row = len(line.tokens) - 1
        style = self._styles[voice][row].copy()
        donor = self._styles[WHISPERER][row]
        style[TIMBRE:] += delivery.breath * (donor[TIMBRE:] - style[TIMBRE:])
        speed = np.full(len(line.tokens) + 2, 2**delivery.rate_oct, dtype=np.float32)
        speed[1:-1][line.pauses] /= 2**delivery.pause_oct
        feed = {
            "tokens": np.array([[0, *line.tokens, 0]], dtype=np.int64),
            "style": style[np.newaxis],
            "speed": speed,
            **{name: np.array([value], dtype=np.float32) for name, value in controls.items()},
        }
        try:
            return np.asarray(self._session.run([output], feed)[0], dtype=np.float32).ravel()
        except _engine_errors() as error:
            raise ModelError(f"{self.model} failed: {error}", where=f"voice {voice}, {row + 1} tokens") from error

    def _controls(self, card: VoiceCard, delivery: Delivery) -> dict[str, float]:
        own, mixed = 1.0, 1.0
        if delivery.range_oct or delivery.breath:
            own, mixed = self._pivot(card, 0.0), self._mixed_pivot(card, delivery.breath)
        return {
            "f0_pivot": mixed,
            "f0_range": 2**delivery.range_oct,
            # The whisperer's manner brings her pitch along; the pitch asked for is relative to the voice's own.
            "f0_ratio": 2 ** (delivery.pitch_st / 12) * own / mixed,
            "energy_add": delivery.energy,
        }

    def _mixed_pivot(self, card: VoiceCard, breath: float) -> float:
        if breath in BREATHS:
            return self._pivot(card, breath)
        logs = [math.log2(self._pivot(card, weight)) for weight in BREATHS]
        return float(2 ** np.polyval(np.polyfit(BREATHS, logs, 2), breath))

    def _pivot(self, card: VoiceCard, breath: float) -> float:
        """Median voiced F0 (Hz) of one sentence, always the same, so that no clip depends on those before it."""
        key = (card.name, breath)
        if key not in self._pivots:
            line = self._read(CALIBRATION[card.language], card)
            neutral = {"f0_pivot": 1.0, "f0_range": 1.0, "f0_ratio": 1.0, "energy_add": 0.0}
            f0 = self._run(F0_OUT, line, card.name, Delivery(breath=breath), neutral)
            self._pivots[key] = float(np.median(f0[f0 > VOICED_HZ]))
        return self._pivots[key]


def _open_session(weights: PurePath) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # two threads were slower than one; use more cores by more callers
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = add_controls(weights)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _engine_errors() as error:
        raise ModelError(f"onnxruntime cannot load Kokoro: {error}", where=str(weights)) from error


def _engine_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They have no common parent but Exception.
    return (state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented, state.RuntimeException)


def _read_styles(voices: PurePath) -> Mapping[str, NDArray[np.float32]]:
    """Read the voices' tables out of the tarball, without unpacking it."""
    styles: dict[str, NDArray[np.float32]] = {}
    try:
        with tarfile.open(str(voices)) as tarball:
            for member in tarball:
                path = PurePath(member.name)
                file = tarball.extractfile(member) if path.suffix == ".bin" and path.stem in VOICES else None
                if file is not None:
                    styles[path.stem] = _style(file.read(), path.stem, voices)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ModelError(f"the voices cannot be read: {error}", where=str(voices)) from error
    if missing := [name for name in VOICES if name not in styles]:
        raise ModelError(f"the tarball lacks {len(missing)} voices: {', '.join(missing)}", where=str(voices))
    return styles


def _style(table: bytes, name: str, voices: PurePath) -> NDArray[np.float32]:
    if len(table) != math.prod(STYLE) * 4:
        raise ModelError(f"the voice {name} has {len(table)} bytes, not {math.prod(STYLE) * 4}", where=str(voices))
    return np.frombuffer(table, dtype="<f4").reshape(STYLE)
