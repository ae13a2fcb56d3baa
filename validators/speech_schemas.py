# SPDX-License-Identifier: Apache-2.0
"""The Arrow schema of the `clips` table, and what its columns mean."""

from typing import Final

import pyarrow as pa

from validators.schemas import (
    INTEGER,
    INTENDED,
    PERCEIVED,
    TEXT,
    list_of,
    optional_field,
    required_field,
    table_schema,
)
from validators.speech_records import Delivery, Prosody

REAL: Final = pa.float64()
AUDIO: Final = pa.struct([optional_field("bytes", pa.binary()), optional_field("path", TEXT)])
"""As `datasets.Audio` stores it: the file's bytes, and a name for it. It takes a column for sound only if all its parts
may be null; none is."""

DELIVERY: Final = pa.struct([required_field(name, REAL) for name in Delivery.model_fields])
PROSODY: Final = pa.struct([required_field(name, REAL) for name in Prosody.model_fields])

PLANNED_CLIPS: Final = table_schema(
    "planned_clips",
    [
        required_field("clip_id", TEXT),
        optional_field("utterance_id", TEXT),
        optional_field("dialogue_id", TEXT),
        optional_field("turn", INTEGER),
        optional_field("story_id", TEXT),
        required_field("speaker", TEXT),
        required_field("text", TEXT),
        required_field("language", TEXT),
        required_field("intended", INTENDED),
        required_field("voice", TEXT),
        required_field("rendering", INTEGER),
        required_field("split", TEXT),
        required_field("seed", INTEGER),
    ],
)

CLIPS: Final = table_schema(
    "clips",
    [
        required_field("clip_id", TEXT),
        optional_field("utterance_id", TEXT),
        optional_field("dialogue_id", TEXT),
        optional_field("turn", INTEGER),
        optional_field("story_id", TEXT),
        optional_field("audio", AUDIO),
        required_field("speaker", TEXT),
        required_field("text", TEXT),
        required_field("language", TEXT),
        required_field("n_samples", INTEGER),
        required_field("sample_rate", INTEGER),
        required_field("voice", TEXT),
        required_field("voice_licence", TEXT),
        required_field("engine", TEXT),
        required_field("intended", INTENDED),
        required_field("delivery", DELIVERY),
        required_field("controls", DELIVERY),
        required_field("measured", PROSODY),
        required_field("neutral", PROSODY),
        required_field("transcript", TEXT),
        required_field("wer", REAL),
        required_field("dnsmos", REAL),
        required_field("speaker_similarity", REAL),
        required_field("distance", REAL),
        required_field("passed_at_first", pa.bool_()),
        optional_field("perceived", PERCEIVED),
        optional_field("realised", pa.bool_()),
        required_field("attempts", INTEGER),
        required_field("rendering", INTEGER),
        required_field("listener", TEXT),
        required_field("seed", INTEGER),
        required_field("split", TEXT),
    ],
)

PLACED_TURNS: Final = list_of(
    pa.struct(
        [
            required_field("turn", INTEGER),
            required_field("speaker", pa.int8()),
            required_field("clip_id", TEXT),
            required_field("begin_s", REAL),
            required_field("end_s", REAL),
        ]
    )
)

RECORDINGS: Final = table_schema(
    "recordings",
    [
        required_field("dialogue_id", TEXT),
        required_field("rendering", INTEGER),
        optional_field("story_id", TEXT),
        optional_field("audio", AUDIO),
        required_field("n_samples", INTEGER),
        required_field("sample_rate", INTEGER),
        required_field("language", TEXT),
        required_field("voices", list_of(TEXT)),
        required_field("voice_licences", list_of(TEXT)),
        required_field("turns", PLACED_TURNS),
        required_field("split", TEXT),
    ],
)

RECORDING_COLUMN_DESCRIPTIONS: Final = {
    "dialogue_id": "the dialogue that is said; its recordings in several renderings have the same",
    "rendering": "as that of its clips",
    "story_id": "the story that the dialogue grows from; null for a dialogue of a domain",
    "audio": "FLAC, one channel: the clips of all turns one after the other, with gaps as between people who talk",
    "n_samples": "length in samples",
    "sample_rate": "samples a second",
    "language": "language of the dialogue",
    "voices": "voice of each speaker",
    "voice_licences": "licence of each voice",
    "turns": "where each turn lies: `turn`, `speaker`, `clip_id`, `begin_s`, `end_s`",
    "split": "train, validation or test; that of the dialogue",
}

CLIP_COLUMN_DESCRIPTIONS: Final = {
    "clip_id": "id of the clip",
    "utterance_id": "the utterance that is said; null for a turn",
    "dialogue_id": "the dialogue whose turn is said; null for an utterance",
    "turn": "number of the turn in its dialogue, counted from 0",
    "story_id": "the story that the text belongs to; null for a dialogue of a domain",
    "audio": "FLAC, one channel",
    "speaker": "who says it; within a story or dialogue they keep one voice",
    "text": "what is said",
    "language": "language of the text",
    "n_samples": "length in samples",
    "sample_rate": "samples a second",
    "voice": "voice of the engine",
    "voice_licence": "licence of the voice",
    "engine": "speech engine and revision",
    "intended": "what the clip is to express: label, intensity (1 mild, 2 strong), cause",
    "delivery": "how it was to be said, as differences from the voice's neutral: pitch (semitones), range, rate and "
    "pauses (octaves), energy, tilt and gain (dB), breath (0 to 1)",
    "controls": "what the engine was given in the take that was kept; further takes stray a little",
    "measured": "what was measured of the clip: F0, range, loudness, rate, tilt, pauses",
    "neutral": "the same of the same text by the same voice without any delivery",
    "transcript": "what a speech recogniser heard",
    "wer": "word error rate of the transcript",
    "dnsmos": "DNSMOS P.835, overall, 1 to 5",
    "speaker_similarity": "cosine to the voice's neutral speaker embedding",
    "distance": "between measured and asked delivery, in just noticeable differences",
    "passed_at_first": "whether the first take passed all gates",
    "perceived": "emotions that a listener model heard, where one is configured",
    "realised": "whether the intended emotion is among them; null without such a listener",
    "attempts": "takes that were made",
    "rendering": "0 for the text as it is; others are further renderings of the same text",
    "listener": "models that listened",
    "seed": "seed of the clip",
    "split": "train, validation or test; that of the text",
}
