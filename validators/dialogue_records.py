# SPDX-License-Identifier: Apache-2.0
"""The records of dialogues: what is planned, and what is kept."""

from typing import Annotated, Literal

from pydantic import Field

from validators.records import Intended, Intensity, Perceived, Record, Split, StoryId, Text, UtteranceId

DialogueId = Annotated[str, Field(pattern=r"^d-[0-9]{5}-[0-9]{4}$")]
SpeakerIndex = Literal[0, 1]
Reason = Literal["start", "lasts", "moves", "caught", "answers", "baseline", "event"]
"""Where the emotion of a turn comes from; see generators/trajectories/dynamics.py."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class PlannedTurn(Record):
    """What a speaker is to feel at one turn, and where it comes from."""

    speaker: SpeakerIndex
    label: Text
    intensity: Intensity | None
    reason: Reason


class PlannedDialogue(Record):
    """One dialogue to be written: from a domain, or from an utterance of the text dataset, which is its first turn."""

    dialogue_id: DialogueId
    domain: str | None
    story_id: StoryId | None
    utterance_id: UtteranceId | None
    names: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
    writers: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
    baselines: Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
    trajectory: Annotated[tuple[PlannedTurn, ...], Field(min_length=2)]
    split: Split
    seed: Annotated[int, Field(ge=0, lt=2**31)]


class Speaker(Record):
    """One of the two who talk."""

    name: Text
    persona: Text
    relation: Text
    baseline: Text
    voice: str | None
    writer: Text
    writer_licence: Text


class Turn(Record):
    """One turn of a kept dialogue."""

    turn: Annotated[int, Field(ge=0)]
    speaker: SpeakerIndex
    text: Text
    inner_state: str
    intended: Intended
    reason: Reason
    perceived: tuple[Perceived, ...] | None
    perceived_in_dialogue: tuple[Perceived, ...] | None
    realised: bool | None
    realised_at_first: bool | None
    attempts: Annotated[int, Field(ge=1)]
    clip_id: str | None


class Judged(Record):
    """How probable a Chat judge finds it that the answer to each of its questions is yes."""

    relevance: Share
    consistency: Share
    reasons: Share

    @property
    def mean(self) -> float:
        """Mean of the answers."""
        return (self.relevance + self.consistency + self.reasons) / 3


class Dialogue(Record):
    """A kept row of the `dialogues` table; column meanings are in dialogue_schemas.py."""

    dialogue_id: DialogueId
    domain: str | None
    story_id: StoryId | None
    title: str | None
    utterance_id: UtteranceId | None
    language: Text
    situation: Text
    goal: Text
    speakers: Annotated[tuple[Speaker, ...], Field(min_length=2, max_length=2)]
    trajectory: Annotated[tuple[PlannedTurn, ...], Field(min_length=2)]
    turns: Annotated[tuple[Turn, ...], Field(min_length=2)]
    adherence: Share | None
    judged: Judged | None
    reader: str | None
    judge: str | None
    prompt_sha256: Sha256
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    split: Split
    source: Text
    source_licence: Text
