# SPDX-License-Identifier: Apache-2.0
"""A planned dialogue with all that writing it needs, and what comes out."""

from dataclasses import dataclass
from itertools import zip_longest

from validators.dialogue_records import Judged, PlannedDialogue, Turn
from validators.gates import GateBounds
from validators.readings import RealisedRule
from validators.records import Utterance
from validators.roles import Encoder
from validators.taxonomy import Label


@dataclass(frozen=True, slots=True)
class DialogueSettings:
    """What is the same for all dialogues of a run. Without a rule nothing is read, without a judge none is judged."""

    candidates: int
    temperature: float
    bounds: GateBounds
    encoder: Encoder
    similarity: float
    history_turns: int
    """How many of the turns before it a writer and a reader see."""
    rule: RealisedRule | None = None
    adherence: float = 0.0
    """Share of the turns that must be realised; a dialogue that can no longer reach it is given up."""
    judge: str | None = None
    """The writer that judges, by its name in the recipe."""
    judged: float = 0.0
    """What the mean of the judge's answers must reach."""


@dataclass(frozen=True, slots=True)
class DialogueScene:
    """A planned dialogue with all that its prompts need.

    `topic` is the description of its domain or the section of its story, `labels` those of its trajectory by name,
    and `opening` the utterance that is its first turn, if it grows from one.
    """

    plan: PlannedDialogue
    topic: str
    language: str
    labels: dict[str, Label]
    neutral: str | None
    settings: DialogueSettings
    opening: Utterance | None = None

    @property
    def source(self) -> str:
        """What a turn must not copy: the section of a story; a domain is too short to be copied."""
        return self.topic if self.opening else ""

    def emotion(self, label: str) -> str:
        """An emotion as a prompt says it."""
        return "nothing in particular" if label == self.neutral else self.labels[label].title.lower()

    def naming_words(self, label: str) -> tuple[str, ...]:
        """The words that name an emotion; a neutral turn may say any."""
        if label == self.neutral:
            return ()
        return tuple(dict.fromkeys((self.labels[label].name, *self.labels[label].synonyms)))

    def changes(self) -> dict[int, str | None]:
        """The turns at which a speaker's feeling is new, with the one that they had before (None: their first turn)."""
        last: list[str | None] = [None, None]
        changed: dict[int, str | None] = {}
        for number, turn in enumerate(self.plan.trajectory):
            if last[turn.speaker] != turn.label:
                changed[number] = last[turn.speaker]
            last[turn.speaker] = turn.label
        return changed


@dataclass(frozen=True, slots=True)
class Premise:
    """What a dialogue starts from: the two, what has happened, and the event behind the feeling of each turn."""

    situation: str
    personas: tuple[str, str]
    relation: str
    goal: str
    causes: tuple[str, ...]
    """One for each turn; the one of the turn before while a feeling lasts."""


@dataclass(frozen=True, slots=True)
class WrittenDialogue:
    """The turns of a kept dialogue, and what it started from."""

    premise: Premise
    turns: tuple[Turn, ...]
    judged: Judged | None


def lines_of(names: tuple[str, ...], turns: tuple[str, ...], *, first_speaker: int = 0) -> str:
    """Write turns as a play does, alternating from the first speaker on."""
    order = [names[(first_speaker + n) % 2] for n in range(len(turns))]
    return "\n".join(f"{name}: {text}" for name, text in zip_longest(order, turns))
