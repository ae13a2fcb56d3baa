# SPDX-License-Identifier: Apache-2.0
"""The Arrow schema of the `ratings` table: what people heard in the items of a release. It is never published."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pyarrow as pa
from pydantic import Field

from validators.records import Record, Text
from validators.schemas import INTEGER, TEXT, list_of, optional_field, required_field, table_schema

MAX_LABELS: Final = 5
INTENSITIES: Final = (0, 1, 2)
"""A trace, mild, strong."""

RATINGS: Final = table_schema(
    "ratings",
    [
        required_field("rater", TEXT),
        required_field("kind", TEXT),
        required_field("position", INTEGER),
        required_field("presentation", TEXT),
        optional_field("item_id", TEXT),
        optional_field("turn", INTEGER),
        required_field("item_sha256", TEXT),
        required_field(
            "labels",
            list_of(pa.struct([required_field("label", TEXT), required_field("intensity", pa.int8())])),
        ),
        optional_field("asked_label", TEXT),
        optional_field("intended_label", TEXT),
        optional_field("perceived_label", TEXT),
        required_field("counted", pa.bool_()),
        required_field("answered_ms", INTEGER),
    ],
)

RATING_COLUMNS: Final[Mapping[str, str]] = {
    "rater": "Name that the rater gave.",
    "kind": "text, dialogue or audio.",
    "position": "Place of the item in this rater's order, counted from 0.",
    "presentation": "first; again (an item shown once more, for self-consistency); or check (its answer stands in it).",
    "item_id": "utterance_id, dialogue_id or clip_id of the row that was rated; null for a check.",
    "turn": "The turn that was rated, counted from 0; null but for dialogues.",
    "item_sha256": "SHA-256 of what was shown. An answer to what the release no longer holds is not exported.",
    "labels": "What the rater perceived: up to five labels, each with `intensity` (0 a trace, 1 mild, 2 strong); for "
    "none, the neutral label of the taxonomy with intensity 1, or nothing where it has no such label.",
    "asked_label": "The one label that a check asks for; null otherwise.",
    "intended_label": "What was intended; null for a check. No rater saw it.",
    "perceived_label": "The label that the blind reader or listener put first; null without one, and for a check.",
    "counted": "Whether the rater's answers are part of the figures; false for those left out.",
    "answered_ms": "When the answer was stored, in milliseconds since 1970 (UTC).",
}
"""Column -> meaning."""


class Perceived(Record):
    """A label that a rater perceives, and how strongly."""

    label: Text
    intensity: Annotated[int, Field(ge=0, le=2)]


class Rating(Record):
    """One answer of one rater. The columns are explained in `RATING_COLUMNS`."""

    rater: Text
    kind: Literal["text", "dialogue", "audio"]
    position: Annotated[int, Field(ge=0)]
    presentation: Literal["first", "again", "check"]
    item_id: Text | None
    turn: Annotated[int, Field(ge=0)] | None
    item_sha256: Text
    labels: Annotated[tuple[Perceived, ...], Field(max_length=MAX_LABELS)]
    asked_label: Text | None
    intended_label: Text | None
    perceived_label: Text | None
    counted: bool
    answered_ms: Annotated[int, Field(ge=0)]

    @property
    def item(self) -> tuple[str, int | None]:
        """What was rated; the same for all who rated it."""
        return (self.item_id or "", self.turn)

    @property
    def heard(self) -> frozenset[str]:
        """The labels alone."""
        return frozenset(one.label for one in self.labels)

    @property
    def failed(self) -> bool:
        """Whether it is a check, and the answer another one than stands in it."""
        return self.presentation == "check" and self.heard != {self.asked_label}
