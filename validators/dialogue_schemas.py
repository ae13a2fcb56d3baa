# SPDX-License-Identifier: Apache-2.0
"""The Arrow schemas of dialogues: turns and speakers are lists of structs, as `datasets` reads them."""

from collections.abc import Mapping
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

_SPEAKER_INDEX: Final = pa.int8()

TRAJECTORY: Final = list_of(
    pa.struct(
        [
            required_field("speaker", _SPEAKER_INDEX),
            required_field("label", TEXT),
            optional_field("intensity", pa.int8()),
            required_field("reason", TEXT),
        ]
    )
)

SPEAKERS: Final = list_of(
    pa.struct(
        [
            required_field("name", TEXT),
            required_field("persona", TEXT),
            required_field("relation", TEXT),
            required_field("baseline", TEXT),
            optional_field("voice", TEXT),
            required_field("writer", TEXT),
            required_field("writer_licence", TEXT),
        ]
    )
)

TURNS: Final = list_of(
    pa.struct(
        [
            required_field("turn", INTEGER),
            required_field("speaker", _SPEAKER_INDEX),
            required_field("text", TEXT),
            required_field("inner_state", TEXT),
            required_field("intended", INTENDED),
            required_field("reason", TEXT),
            optional_field("perceived", PERCEIVED),
            optional_field("perceived_in_dialogue", PERCEIVED),
            optional_field("realised", pa.bool_()),
            optional_field("realised_at_first", pa.bool_()),
            required_field("attempts", INTEGER),
            optional_field("clip_id", TEXT),
        ]
    )
)

JUDGED: Final = pa.struct(
    [
        required_field("relevance", pa.float64()),
        required_field("consistency", pa.float64()),
        required_field("reasons", pa.float64()),
    ]
)

DIALOGUES: Final = table_schema(
    "dialogues",
    [
        required_field("dialogue_id", TEXT),
        optional_field("domain", TEXT),
        optional_field("story_id", TEXT),
        optional_field("title", TEXT),
        optional_field("utterance_id", TEXT),
        required_field("language", TEXT),
        required_field("situation", TEXT),
        required_field("goal", TEXT),
        required_field("speakers", SPEAKERS),
        required_field("trajectory", TRAJECTORY),
        required_field("turns", TURNS),
        optional_field("adherence", pa.float64()),
        optional_field("judged", JUDGED),
        optional_field("reader", TEXT),
        optional_field("judge", TEXT),
        required_field("prompt_sha256", TEXT),
        required_field("seed", INTEGER),
        required_field("split", TEXT),
        required_field("source", TEXT),
        required_field("source_licence", TEXT),
    ],
)

PLANNED_DIALOGUES: Final = table_schema(
    "planned_dialogues",
    [
        required_field("dialogue_id", TEXT),
        optional_field("domain", TEXT),
        optional_field("story_id", TEXT),
        optional_field("utterance_id", TEXT),
        required_field("names", list_of(TEXT)),
        required_field("writers", list_of(TEXT)),
        required_field("baselines", list_of(TEXT)),
        required_field("trajectory", TRAJECTORY),
        required_field("split", TEXT),
        required_field("seed", INTEGER),
    ],
)

DIALOGUE_COLUMNS: Final[Mapping[str, str]] = {
    "dialogue_id": "Identifier of the row: d-<shard>-<row in the shard>, free of content.",
    "domain": "What the dialogue is about, where it grew from a domain; null where it grew from a story.",
    "story_id": "The story that it grew from; null where it grew from a domain. A story never crosses splits.",
    "title": "Title of the story; null as above.",
    "utterance_id": "The row of `utterances` that is its first turn; null as above.",
    "language": "Language of the turns (ISO 639-1).",
    "situation": "Where the two are and what has happened before the first turn.",
    "goal": "What the first speaker wants of the other.",
    "speakers": "The two who talk: `name`, `persona`, `relation` to the other, `baseline` (the emotion that they tend "
    "to), `voice` (null until spoken), `writer` (model and revision of their lines) and `writer_licence`.",
    "trajectory": "What was planned, turn by turn: `speaker` (0 or 1), `label`, `intensity` and `reason` (start, "
    "lasts, moves, caught from the other, answers the other, baseline, event).",
    "turns": "The turns in order: `turn`, `speaker`, `text`, `inner_state` (what the writer had the speaker think "
    "first), `intended` (label, intensity and cause), `reason`, `perceived` (what a blind reader found in the text "
    "alone), `perceived_in_dialogue` (after the turns before it), `realised`, `realised_at_first`, `attempts`, "
    "`clip_id` (null until spoken).",
    "adherence": "Share of the turns that are realised; null without a reader.",
    "judged": "Probability that a Chat judge answers yes: every line answers the one before (`relevance`), both stay "
    "who they are (`consistency`), every change of feeling has a reason (`reasons`); null without a judge.",
    "reader": "Model and revision that read the turns; null without a reader.",
    "judge": "Model and revision of the judge; null without one.",
    "prompt_sha256": "SHA-256 of the prompts of dialogues.",
    "seed": "Seed of the row.",
    "split": "train, validation or test; that of the story where there is one.",
    "source": "Where the story comes from, or `domain`.",
    "source_licence": "Licence of the story; of a domain's description, that of this project.",
}
"""Column -> meaning, for the dataset card."""
