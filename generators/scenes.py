# SPDX-License-Identifier: Apache-2.0
"""A planned row with all that writing it needs, and what comes out."""

from dataclasses import dataclass

from generators.prompts import EXAMPLE_NAMES, Prompt
from validators.gates import GateBounds, line_gates, situation_gates
from validators.judging import Gate
from validators.readings import Reading, RealisedRule
from validators.records import PlannedUtterance
from validators.taxonomy import Label


@dataclass(frozen=True, slots=True)
class WritingSettings:
    """What is the same for all rows of a run. Without a rule nothing is read."""

    candidates: int
    temperature: float
    bounds: GateBounds
    rule: RealisedRule | None = None
    keep_misses_above: float | None = None
    """Rows that were never realised are kept as such if the intended label's score reaches this share of its
    threshold; None rejects them."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What a blind reader found in the texts of a row, and whether the intention was heard in the line."""

    line: Reading
    realised: bool
    realised_at_first: bool
    line_in_context: Reading | None = None
    ambiguous: Reading | None = None
    ambiguous_in_context: Reading | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The texts of a kept row; a row that is not contextual ends with the line.

    `context_lost` says by which stage, gate and reason a row that was to be contextual remained without.
    """

    text: str
    cause: str
    context: str | None
    text_ambiguous: str | None
    attempts: int
    readings: Readings | None = None
    context_lost: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A planned row with all that its prompts need."""

    plan: PlannedUtterance
    section: str
    language: str
    label: Label
    is_neutral: bool
    feelings: tuple[str, ...]
    """The words that name any emotion of the taxonomy: a situation tells none of them."""
    settings: WritingSettings

    @property
    def synonyms(self) -> tuple[str, ...]:
        """The words that name the emotion; a neutral line may say 'neutral'."""
        return () if self.is_neutral else tuple(dict.fromkeys((self.label.name, *self.label.synonyms)))

    @property
    def avoid_words(self) -> tuple[str, ...]:
        """The single words that name the emotion; phrases are left to the gate."""
        return tuple(word for word in self.synonyms if " " not in word)

    @property
    def emotion(self) -> str:
        """The emotion as a prompt says it."""
        return self.label.title.lower()

    def line_gates(self, prompt: Prompt) -> list[Gate]:
        """Gates for a line of this scene."""
        return line_gates(
            character=self.plan.character,
            section=self.section,
            synonyms=self.synonyms,
            language=self.language,
            prompt=prompt.text,
            strangers=EXAMPLE_NAMES,
            bounds=self.settings.bounds,
        )

    def situation_gates(self, prompt: Prompt, line: str, *, names_feelings: bool) -> list[Gate]:
        """Gates for the situation before a line; a first version may name feelings, since it is cleaned next."""
        return situation_gates(
            line=line,
            section=self.section,
            feelings=() if names_feelings else self.feelings,
            language=self.language,
            prompt=prompt.text,
            strangers=EXAMPLE_NAMES,
            bounds=self.settings.bounds,
        )
