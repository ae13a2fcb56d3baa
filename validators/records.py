# SPDX-License-Identifier: Apache-2.0
"""The records that travel through the pipeline: strict, frozen, free of NaN."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Intensity = Literal[1, 2]
"""1 mild, 2 strong."""

Split = Literal["train", "validation", "test"]

StoryId = Annotated[str, Field(pattern=r"^s-[0-9a-f]{12}$")]
UtteranceId = Annotated[str, Field(pattern=r"^u-[0-9]{5}-[0-9]{4}$")]
Text = Annotated[str, Field(min_length=1)]


class Record(BaseModel):
    """Base of all records: an unknown key, a wrong type or NaN is an error, and errors do not repeat the value."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Feeling(Record):
    """What a character is said to feel in a section, and why: given with the story or found by a model."""

    section: Annotated[int, Field(ge=0)]
    character: Text
    label: Text
    cause: str = ""


class Story(Record):
    """A narrative cut into sections. `story_id` is made from its text, so it never depends on order or file names."""

    story_id: StoryId
    title: Text
    source: Text
    licence: Text
    language: Text
    sections: Annotated[tuple[Text, ...], Field(min_length=1)]
    feelings: tuple[Feeling, ...] = ()


class Evidence(Record):
    """One pair of character and emotion for which a section gives cause."""

    story_id: StoryId
    section: Annotated[int, Field(ge=0)]
    character: Text
    label: Text
    cause: str
    origin: Literal["given", "model"]


class Intended(Record):
    """What the writer was asked for."""

    label: Text
    intensity: Intensity | None
    cause: str


class Perceived(Record):
    """One label that a blind reader found, with its score between 0 and 1."""

    label: Text
    score: Annotated[float, Field(ge=0, le=1)]


class PlannedUtterance(Record):
    """One utterance to be written.

    `manner` is set for neutral alone (informing, asking, polite, flat); a row that is not `contextual` ends with the
    utterance, without context and rewritten text. `avoid` holds openings and phrases that too many rows already use.
    """

    utterance_id: UtteranceId
    story_id: StoryId
    section: Annotated[int, Field(ge=0)]
    character: Text
    intended: Intended
    manner: str | None = None
    contextual: bool = True
    split: Split
    avoid: tuple[Text, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @property
    def planned_id(self) -> str:
        """The id under which the row is accounted for."""
        return self.utterance_id

    @property
    def label(self) -> str:
        """The intended label."""
        return self.intended.label


class Utterance(Record):
    """A kept row of the `utterances` table; column meanings are in schemas.py."""

    utterance_id: UtteranceId
    story_id: StoryId
    title: Text
    section: Annotated[int, Field(ge=0)]
    character: Text
    text: Text
    context: Text | None
    text_ambiguous: Text | None
    language: Text
    intended: Intended
    manner: str | None
    canonical_label: str | None
    perceived: tuple[Perceived, ...] | None
    perceived_in_context: tuple[Perceived, ...] | None
    perceived_ambiguous: tuple[Perceived, ...] | None
    perceived_ambiguous_in_context: tuple[Perceived, ...] | None
    realised: bool | None
    realised_at_first: bool | None
    attempts: Annotated[int, Field(ge=1)]
    writer: Text
    writer_licence: Text
    reader: str | None
    prompt_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    split: Split
    source: Text
    source_licence: Text


class RejectedRow(Record):
    """A planned row that did not become a kept one: where, why, and what had already been written."""

    planned_id: Text
    stage: Text
    gate: Text
    reason: Text
    detail: str
    label: str
    attempt: Annotated[int, Field(ge=0)]
    seed: int
    reply: str
    heard: str = ""
    """The label that a blind reader ranked first, where the row fell because the intended one was not heard."""
