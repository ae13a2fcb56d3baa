# SPDX-License-Identifier: Apache-2.0
"""Which clips a run makes: of its utterances and of the turns of its dialogues, by whom, in which renderings."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.speech_role import Speech
from generators.shares import row_seed, stable_hash
from generators.speech.casting import Part, Speaker, cast
from validators.dialogue_records import Dialogue
from validators.records import Intended, Intensity, Utterance
from validators.speech_records import PlannedClip, VoiceCard

OTHER_INTENSITY: dict[int, Intensity] = {1: 2, 2: 1}


@dataclass(frozen=True, slots=True)
class Said:
    """One text that somebody says."""

    speaker: Speaker
    beside: tuple[Speaker, ...]
    name: str
    text: str
    language: str
    intended: Intended
    split: str
    utterance_id: str | None = None
    dialogue_id: str | None = None
    turn: int | None = None
    story_id: str | None = None

    @property
    def key(self) -> tuple[str | None, str | None, int | None]:
        """What names the text in the release."""
        return (self.utterance_id, self.dialogue_id, self.turn)


def texts_of(role: Speech, utterances: Sequence[Utterance], dialogues: Sequence[Dialogue]) -> list[Said]:
    """List the texts that are to be said, in the order of the tables.

    A character is the same in all utterances of a story and in the dialogues that grow from it, where any two of the
    story may meet: so they are beside each other.
    """
    said: list[Said] = []
    if "utterances" in role.of:
        cast_of: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for utterance in utterances:
            cast_of[utterance.story_id][utterance.character] = None
        said += [
            Said(
                speaker=(utterance.story_id, utterance.character),
                beside=tuple(
                    (utterance.story_id, name) for name in cast_of[utterance.story_id] if name != utterance.character
                ),
                name=utterance.character,
                text=utterance.text,
                language=utterance.language,
                intended=utterance.intended,
                split=utterance.split,
                utterance_id=utterance.utterance_id,
                story_id=utterance.story_id,
            )
            for utterance in utterances
        ]
    if "dialogues" in role.of:
        for row in dialogues:
            place = row.story_id or row.dialogue_id
            speakers = tuple((place, speaker.name) for speaker in row.speakers)
            said += [
                Said(
                    speaker=speakers[turn.speaker],
                    beside=(speakers[1 - turn.speaker],),
                    name=row.speakers[turn.speaker].name,
                    text=turn.text,
                    language=row.language,
                    intended=turn.intended,
                    split=row.split,
                    dialogue_id=row.dialogue_id,
                    turn=turn.turn,
                    story_id=row.story_id,
                )
                for turn in row.turns
            ]
    return said


def unplanned(said: Sequence[Said], planned: Sequence[PlannedClip]) -> list[Said]:
    """The texts of which no clip is planned yet: a dataset may have grown since."""
    known = {(row.utterance_id, row.dialogue_id, row.turn) for row in planned}
    return [text for text in said if text.key not in known]


def shard_of(row: PlannedClip) -> int:
    """The shard of a clip, as its id says."""
    return int(row.clip_id.split("-")[1])


def plan_clips(
    role: Speech,
    said: Sequence[Said],
    voices: Mapping[str, VoiceCard],
    labels: Sequence[str],
    *,
    before: Sequence[PlannedClip] = (),
    seed: int,
) -> list[PlannedClip]:
    """Plan a clip for each text, and the further renderings that the recipe asks for.

    Whoever spoke `before` keeps their voice, and shards are numbered on from those of before.
    A text in a language that no voice speaks is planned too, with a voice that will not do: it is rejected with its
    reason and does not vanish.
    """
    voice_of = _cast(role, said, voices, before, seed=seed)
    first_shard = 1 + max((shard_of(row) for row in before), default=-1)
    planned: list[PlannedClip] = []
    for text in said:
        for rendering, intended, voice in _renderings(role, text, voice_of, voices, labels, seed=seed):
            number = len(planned)
            planned.append(
                PlannedClip(
                    clip_id=f"c-{first_shard + number // role.shard_rows:05d}-{number % role.shard_rows:04d}",
                    utterance_id=text.utterance_id,
                    dialogue_id=text.dialogue_id,
                    turn=text.turn,
                    story_id=text.story_id,
                    speaker=text.name,
                    text=text.text,
                    language=text.language,
                    intended=intended,
                    voice=voice,
                    rendering=rendering,
                    split=text.split,  # type: ignore[arg-type]  # comes from a checked record
                    seed=row_seed(seed, f"clip {text.key} {rendering}"),
                )
            )
    return planned


def _cast(
    role: Speech,
    said: Sequence[Said],
    voices: Mapping[str, VoiceCard],
    before: Sequence[PlannedClip],
    *,
    seed: int,
) -> dict[Speaker, str]:
    """Cast the speakers of each language among its voices, with regard to what each voice said before."""
    known: dict[Speaker, str] = {}
    labels: defaultdict[Speaker, Counter[str]] = defaultdict(Counter)
    beside: defaultdict[Speaker, tuple[Speaker, ...]] = defaultdict(tuple)
    languages: dict[Speaker, str] = {}
    for row in before:
        if row.rendering == 0:
            speaker = (row.story_id or row.dialogue_id or "", row.speaker)
            known[speaker], languages[speaker] = row.voice, row.language
            labels[speaker][row.intended.label] += 1
    for text in said:
        labels[text.speaker][text.intended.label] += 1
        beside[text.speaker] = tuple(dict.fromkeys((*beside[text.speaker], *text.beside)))
        languages[text.speaker] = text.language
    voice_of: dict[Speaker, str] = {}
    for language in sorted(set(languages.values())):
        parts = [
            Part(speaker, labels[speaker], beside[speaker]) for speaker in labels if languages[speaker] == language
        ]
        voice_of |= cast(parts, voices_for(role, voices, language), seed=seed, before=known)
    return voice_of


def voices_for(role: Speech, voices: Mapping[str, VoiceCard], language: str) -> list[str]:
    """The voices of a recipe that speak a language; where none does, all of them."""
    names = list(role.voices or voices)
    return [name for name in names if voices[name].language == language] or names


def _renderings(
    role: Speech,
    text: Said,
    voice_of: Mapping[Speaker, str],
    voices: Mapping[str, VoiceCard],
    labels: Sequence[str],
    *,
    seed: int,
) -> Iterator[tuple[int, Intended, str]]:
    """The text as it is, then the same words by another voice, in another emotion, at the other intensity.

    A rendering has the number of its kind in the recipe, so that a dialogue in one rendering is of one kind.
    """
    intended, voice = text.intended, voice_of[text.speaker]
    yield 0, intended, voice
    for number, kind in enumerate(role.renderings, start=1):
        if kind == "voice":
            names = voices_for(role, voices, text.language)
            if len(names) > 1:
                yield number, intended, _other_voice(voice, names, place=text.speaker[0], seed=seed)
        elif kind == "intensity":
            if intended.intensity is not None:
                other_intensity = OTHER_INTENSITY[intended.intensity]
                yield number, intended.model_copy(update={"intensity": other_intensity}), voice
        else:
            other = [label for label in labels if label != intended.label]
            chosen = other[stable_hash(seed, "emotion", *map(str, text.key)) % len(other)]
            yield number, intended.model_copy(update={"label": chosen, "intensity": intended.intensity or 2}), voice


def _other_voice(voice: str, names: Sequence[str], *, place: str, seed: int) -> str:
    """Another voice: so many places on in the list, as many for all who speak in a story or dialogue.

    So whoever speaks there keeps one voice in this rendering too, and two who talk have two.
    """
    way = 1 + stable_hash(seed, "voice", place) % (len(names) - 1)
    at = names.index(voice) if voice in names else 0
    return names[(at + way) % len(names)]
