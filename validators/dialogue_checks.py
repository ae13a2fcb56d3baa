# SPDX-License-Identifier: Apache-2.0
"""The checks of the dialogues table of a release."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from validators.dialogue_records import DialogueId
from validators.suite_checks import Check, in_set, within

DIALOGUE_ID = TypeAdapter(DialogueId).json_schema()["pattern"]


@dataclass(frozen=True, slots=True)
class DialogueTables:
    """The dialogues of a release, those that were rejected, and what both must keep to."""

    kept: pd.DataFrame
    rejected: pd.DataFrame
    planned_rows: int
    columns: tuple[str, ...]
    min_kept_rows: int


def dialogue_frames(
    tables: DialogueTables, utterances: pd.DataFrame, labels: tuple[str, ...], splits: tuple[str, ...]
) -> Iterator[tuple[str, pd.DataFrame, str, tuple[Check, ...]]]:
    """Give each frame to judge: its name, its rows, the column of their ids, and the checks."""
    kept = tables.kept
    yield (
        "dialogue_tables",
        pd.DataFrame(columns=list(kept.columns)),
        "",
        (Check("dialogue_columns", "ExpectTableColumnsToMatchOrderedList", {"column_list": list(tables.columns)}),),
    )
    flat = pd.DataFrame([_flat(row) for row in kept.to_dict("records")], columns=list(_COLUMNS))
    yield (
        "dialogues",
        flat,
        "dialogue_id",
        (
            Check("kept_dialogues", "ExpectTableRowCountToBeBetween", {"min_value": max(1, tables.min_kept_rows)}),
            Check("dialogue_id_unique", "ExpectColumnValuesToBeUnique", {"column": "dialogue_id"}),
            Check(
                "dialogue_id_form", "ExpectColumnValuesToMatchRegex", {"column": "dialogue_id", "regex": DIALOGUE_ID}
            ),
            Check("dialogue_split_known", "ExpectColumnValuesToBeInSet", in_set("split", splits)),
            Check("turns_as_planned", "ExpectColumnValuesToBeInSet", in_set("as_planned", (True,))),
            Check("roles_alternate", "ExpectColumnValuesToBeInSet", in_set("alternate", (True,))),
            Check("writer_licences_present", "ExpectColumnValuesToBeInSet", in_set("licensed", (True,))),
        ),
    )
    turns = pd.DataFrame(
        [
            {
                "turn_id": f"{row['dialogue_id']}/{turn['turn']}",
                "text": turn["text"],
                "label": turn["intended"]["label"],
            }
            for row in kept.to_dict("records")
            for turn in row["turns"]
        ],
        columns=["turn_id", "text", "label"],
    )
    yield (
        "turns",
        turns,
        "turn_id",
        (
            Check("turn_label_known", "ExpectColumnValuesToBeInSet", in_set("label", labels)),
            Check("turn_not_blank", "ExpectColumnValuesToMatchRegex", {"column": "text", "regex": r"\S"}),
        ),
    )
    of_stories = kept[kept["story_id"].notna()]
    both = pd.concat([utterances[["story_id", "split"]], of_stories[["story_id", "split"]]]).drop_duplicates()
    yield (
        "stories_of_dialogues",
        both,
        "story_id",
        (Check("one_split_per_story_of_all_tables", "ExpectColumnValuesToBeUnique", {"column": "story_id"}),),
    )
    known = set(utterances["utterance_id"])
    links = pd.DataFrame(
        {"dialogue_id": of_stories["dialogue_id"], "linked": [one in known for one in of_stories["utterance_id"]]}
    )
    if len(links):
        linked = Check("utterance_of_dialogue_known", "ExpectColumnValuesToBeInSet", in_set("linked", (True,)))
        yield "links_of_dialogues", links, "dialogue_id", (linked,)
    counts = pd.DataFrame([{"accounted_dialogues": len(kept) + len(tables.rejected)}])
    accounted = within("accounted_dialogues", tables.planned_rows)
    yield (
        "outcome_of_dialogues",
        counts,
        "",
        (Check("dialogues_accounted_for", "ExpectColumnMaxToBeBetween", accounted),),
    )


_COLUMNS = ("dialogue_id", "split", "as_planned", "alternate", "licensed")


def _flat(row: Mapping[Any, Any]) -> dict[str, Any]:
    turns, planned, speakers = list(row["turns"]), list(row["trajectory"]), list(row["speakers"])
    pairs = zip(turns, planned, strict=False)
    return {
        "dialogue_id": row["dialogue_id"],
        "split": row["split"],
        "as_planned": len(turns) == len(planned)
        and all(
            (turn["speaker"], turn["intended"]["label"]) == (plan["speaker"], plan["label"]) for turn, plan in pairs
        ),
        "alternate": all(turns[n]["speaker"] != turns[n - 1]["speaker"] for n in range(1, len(turns))),
        "licensed": all(speaker["writer_licence"] not in {"", "unknown"} for speaker in speakers),
    }
