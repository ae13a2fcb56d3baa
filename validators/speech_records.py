# SPDX-License-Identifier: Apache-2.0
"""The records of speech: how a clip is to be said, what was measured of it, and the clip itself."""

from typing import Annotated, Literal

from pydantic import Field

from validators.dialogue_records import DialogueId, Share
from validators.records import Intended, Perceived, Record, Split, StoryId, Text, UtteranceId

ClipId = Annotated[str, Field(pattern=r"^c-[0-9]{5}-[0-9]{4}$")]
Gender = Literal["female", "male", "unknown"]


class Delivery(Record):
    """How a clip is to be said, as differences from the voice's neutral; all 0 is neutral.

    `pitch_st` shifts the mean F0 (semitones), `range_oct` stretches its movement (log2 of the ratio), `rate_oct` the
    speaking rate (log2), `energy` is added to the log energy that the engine predicts, `tilt_db` raises the spectrum
    above 1.5 kHz (dB), `gain_db` the level (dB), `pause_oct` stretches pauses (log2), and `breath` is the weight of a
    whispered prosody donor (0 to 1).
    """

    pitch_st: Annotated[float, Field(ge=-12, le=12)] = 0.0
    range_oct: Annotated[float, Field(ge=-2, le=2)] = 0.0
    rate_oct: Annotated[float, Field(ge=-1, le=1)] = 0.0
    energy: Annotated[float, Field(ge=-3, le=3)] = 0.0
    tilt_db: Annotated[float, Field(ge=-18, le=18)] = 0.0
    gain_db: Annotated[float, Field(ge=-18, le=18)] = 0.0
    pause_oct: Annotated[float, Field(ge=-2, le=2)] = 0.0
    breath: Share = 0.0


class Prosody(Record):
    """What was measured of a clip's sound.

    F0 over voiced frames (mean of its semitones, in Hz; range from the 20th to the 80th percentile, in semitones),
    loudness over the active part (dB full scale), rate (energy peaks, about syllables, a second of active speech),
    tilt (energy of 1 to 5 kHz over that of 50 Hz to 1 kHz, dB), the share of the time that is pauses, the share of the
    rest that is voiced, and the duration from the first sound to the last.
    """

    f0_mean_hz: Annotated[float, Field(ge=0)]
    f0_range_st: Annotated[float, Field(ge=0)]
    loudness_db: float
    rate_hz: Annotated[float, Field(ge=0)]
    tilt_db: float
    pause_share: Share
    voiced_share: Share
    duration_s: Annotated[float, Field(ge=0)]


class VoiceCard(Record):
    """One voice of an engine."""

    name: Text
    language: Text
    gender: Gender
    licence: Text


class ReferenceVoice(Record):
    """A voice given by recordings: files by feeling (canonical labels, `neutral` among them)."""

    language: Text = "en"
    gender: Gender = "unknown"
    licence: Text
    clips: Annotated[dict[Text, Annotated[tuple[Text, ...], Field(min_length=1)]], Field(min_length=1)]


class PlannedClip(Record):
    """One clip to be made: of an utterance, or of a turn of a dialogue."""

    clip_id: ClipId
    utterance_id: UtteranceId | None
    dialogue_id: DialogueId | None
    turn: Annotated[int, Field(ge=0)] | None
    story_id: StoryId | None
    speaker: Text
    text: Text
    language: Text
    intended: Intended
    voice: Text
    rendering: Annotated[int, Field(ge=0)]
    """0 for the clip of the text as it is; others are further renderings of the same text."""
    split: Split
    seed: Annotated[int, Field(ge=0, lt=2**31)]


class Clip(Record):
    """A kept row of the `clips` table, without its sound."""

    clip_id: ClipId
    utterance_id: UtteranceId | None
    dialogue_id: DialogueId | None
    turn: Annotated[int, Field(ge=0)] | None
    story_id: StoryId | None
    speaker: Text
    text: Text
    language: Text
    n_samples: Annotated[int, Field(ge=1)]
    sample_rate: Annotated[int, Field(ge=8000)]
    voice: Text
    voice_licence: Text
    engine: Text
    intended: Intended
    delivery: Delivery
    """What the label and its intensity ask for."""
    controls: Delivery
    """What the engine was given in the take that was kept."""
    measured: Prosody
    neutral: Prosody
    """The same text by the same voice without any delivery."""
    transcript: str
    wer: Annotated[float, Field(ge=0)]
    dnsmos: float
    speaker_similarity: Annotated[float, Field(ge=-1, le=1)]
    distance: Annotated[float, Field(ge=0)]
    """Between measured and asked delivery, in just noticeable differences; see validators/delivery.py."""
    passed_at_first: bool
    perceived: tuple[Perceived, ...] | None
    realised: bool | None
    attempts: Annotated[int, Field(ge=1)]
    rendering: Annotated[int, Field(ge=0)]
    listener: Text
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    split: Split
