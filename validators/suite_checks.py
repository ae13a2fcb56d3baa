# SPDX-License-Identifier: Apache-2.0
"""What a release is checked for: its bounds, and the checks of the utterances table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from validators.records import UtteranceId

UTTERANCE_ID = TypeAdapter(UtteranceId).json_schema()["pattern"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of the release with the floor or ceiling that it must keep to; an undefined figure (None) does not."""

    name: str
    value: float | None
    floor: float | None = None
    ceiling: float | None = None


@dataclass(frozen=True, slots=True)
class ReleaseBounds:
    """What a release must keep to: its schema, its taxonomy, the number of rows planned, and floors and ceilings."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]  # of the utterances table, in the order of the schema
    required: tuple[str, ...]  # columns that may hold no null
    planned_rows: int
    min_kept_rows: int = 1
    min_labels: int = 1
    max_rejected_share: float = 1.0  # of the planned rows
    max_reason_share: float = 1.0  # of the planned rows, for each pair of gate and reason
    without_reason_share: tuple[str, ...] = ("reader",)  # gates whose share is a figure with a floor of its own
    measured: tuple[Measured, ...] = ()
    min_text_chars: int = 1
    max_text_chars: int = 2000
    splits: tuple[str, ...] = ("train", "validation", "test")
    without_intensity: tuple[str, ...] = ("neutral",)  # labels that have no intensity
    unknown_names: tuple[str, ...] = ("", "unknown")  # what stands for a source, writer or licence that nobody knows


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation by its class name, and its arguments."""

    name: str
    expectation: str
    arguments: Mapping[str, Any]


def utterance_checks(bounds: ReleaseBounds) -> Iterator[Check]:
    """The checks of the utterances table."""
    floor = max(1, bounds.min_kept_rows)  # an empty table satisfies every other expectation
    yield Check("kept_rows", "ExpectTableRowCountToBeBetween", {"min_value": floor})
    yield Check("utterance_id_unique", "ExpectColumnValuesToBeUnique", {"column": "utterance_id"})
    yield Check(
        "utterance_id_form", "ExpectColumnValuesToMatchRegex", {"column": "utterance_id", "regex": UTTERANCE_ID}
    )
    yield Check("label_known", "ExpectColumnValuesToBeInSet", in_set("intended_label", bounds.labels))
    yield Check("label_present", "ExpectColumnValuesToNotBeNull", {"column": "intended_label"})
    floor = max(1, bounds.min_labels)
    yield Check(
        "labels_reached", "ExpectColumnUniqueValueCountToBeBetween", {"column": "intended_label", "min_value": floor}
    )
    yield Check("intensity_known", "ExpectColumnValuesToBeInSet", in_set("intended_intensity", (1, 2)))
    yield Check("split_known", "ExpectColumnValuesToBeInSet", in_set("split", bounds.splits))
    chars = {"column": "text", "min_value": bounds.min_text_chars, "max_value": bounds.max_text_chars}
    yield Check("text_length", "ExpectColumnValueLengthsToBeBetween", chars)
    yield Check("text_not_blank", "ExpectColumnValuesToMatchRegex", {"column": "text", "regex": r"\S"})
    for column in dict.fromkeys(("utterance_id", "story_id", "split", "text", *bounds.required)):
        yield Check(f"{column}_present", "ExpectColumnValuesToNotBeNull", {"column": column})
    for column in ("source", "source_licence", "writer", "writer_licence"):
        unknown = in_set(column, bounds.unknown_names)
        yield Check(f"{column}_known", "ExpectColumnValuesToNotBeInSet", unknown)


def within(column: str, value: float) -> dict[str, Any]:
    """Arguments that hold a column to one value."""
    return {"column": column, "min_value": value, "max_value": value}


def in_set(column: str, values: Sequence[object]) -> dict[str, Any]:
    """Arguments that bound a column to a set."""
    return {"column": column, "value_set": list(values)}
