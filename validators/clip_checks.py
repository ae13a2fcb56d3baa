# SPDX-License-Identifier: Apache-2.0
"""The checks of the clips table of a release."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from validators.speech_records import ClipId
from validators.suite_checks import Check, in_set, within

CLIP_ID = TypeAdapter(ClipId).json_schema()["pattern"]
UNLICENSED = ("", "unknown")


@dataclass(frozen=True, slots=True)
class ClipTables:
    """The clips of a release without their sound, those that were rejected, and what both must keep to."""

    kept: pd.DataFrame
    rejected: pd.DataFrame
    planned_rows: int
    columns: tuple[str, ...]
    texts: Mapping[tuple[str | None, str | None, int | None], str]
    """Split of each text by utterance id, dialogue id and turn."""


def clip_frames(
    tables: ClipTables, labels: tuple[str, ...], splits: tuple[str, ...]
) -> Iterator[tuple[str, pd.DataFrame, str, tuple[Check, ...]]]:
    """Give each frame to judge: its name, its rows, the column of their ids, and the checks."""
    kept = tables.kept
    yield (
        "clip_tables",
        pd.DataFrame(columns=list(kept.columns)),
        "",
        (Check("clip_columns", "ExpectTableColumnsToMatchOrderedList", {"column_list": list(tables.columns)}),),
    )
    flat = pd.DataFrame([_flat(row, tables.texts) for row in kept.to_dict("records")], columns=list(_COLUMNS))
    yield (
        "clips",
        flat,
        "clip_id",
        (
            Check("kept_clips", "ExpectTableRowCountToBeBetween", {"min_value": 1}),
            Check("clip_id_unique", "ExpectColumnValuesToBeUnique", {"column": "clip_id"}),
            Check("clip_id_form", "ExpectColumnValuesToMatchRegex", {"column": "clip_id", "regex": CLIP_ID}),
            Check("clip_split_known", "ExpectColumnValuesToBeInSet", in_set("split", splits)),
            Check("clip_label_known", "ExpectColumnValuesToBeInSet", in_set("label", labels)),
            Check("clip_text_known", "ExpectColumnValuesToBeInSet", in_set("linked", (True,))),
            Check("clip_in_split_of_text", "ExpectColumnValuesToBeInSet", in_set("same_split", (True,))),
            Check("voice_licences_present", "ExpectColumnValuesToBeInSet", in_set("licensed", (True,))),
            Check("clip_has_sound", "ExpectColumnValuesToBeBetween", {"column": "n_samples", "min_value": 1}),
        ),
    )
    # the first rendering of every text: a speaker has one voice in it
    first = flat[flat["rendering"] == 0] if len(flat) else flat
    cast = first[["cast", "voice"]].drop_duplicates()
    yield (
        "voices",
        cast,
        "cast",
        (Check("one_voice_per_speaker", "ExpectColumnValuesToBeUnique", {"column": "cast"}),),
    )
    counts = pd.DataFrame([{"accounted_clips": len(kept) + len(tables.rejected)}])
    accounted = within("accounted_clips", tables.planned_rows)
    yield "outcome_of_clips", counts, "", (Check("clips_accounted_for", "ExpectColumnMaxToBeBetween", accounted),)


_COLUMNS = (
    "clip_id",
    "split",
    "label",
    "linked",
    "same_split",
    "licensed",
    "n_samples",
    "cast",
    "voice",
    "rendering",
)


def _flat(row: Mapping[Any, Any], texts: Mapping[tuple[str | None, str | None, int | None], str]) -> dict[str, Any]:
    turn = None if pd.isna(row["turn"]) else int(row["turn"])
    split = texts.get((_text(row["utterance_id"]), _text(row["dialogue_id"]), turn))
    return {
        "clip_id": row["clip_id"],
        "split": row["split"],
        "label": row["intended"]["label"],
        "linked": split is not None,
        "same_split": split == row["split"],
        "licensed": row["voice_licence"] not in UNLICENSED,
        "n_samples": row["n_samples"],
        "cast": f"{_text(row['story_id']) or row['dialogue_id']}/{row['speaker']}",
        "voice": row["voice"],
        "rendering": row["rendering"],
    }


def _text(value: object) -> str | None:
    """A value of a pandas column of text, where null is NaN."""
    return value if isinstance(value, str) else None
