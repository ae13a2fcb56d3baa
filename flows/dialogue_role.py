# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about dialogues."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from flows.patterns import Name
from flows.roles import Writer
from validators.problems import Place, ProblemsError, did_you_mean
from validators.records import Record, Text

OWN = "writer"
"""The name under which pairs and judge speak of the recipe's own writer."""
NONE = "none"

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1000)]


def _even(value: object) -> object:
    """Read a list as equal weights."""
    return dict.fromkeys(value, 1.0) if isinstance(value, list) else value


def _whole(value: object) -> object:
    """Read the keys of a mapping as whole numbers: YAML gives them so, JSON as text."""
    value = _even(value)
    if isinstance(value, dict):
        value = {int(key) if isinstance(key, str) and key.isdigit() else key: one for key, one in value.items()}
        return dict(sorted(value.items(), key=lambda item: str(item[0]).zfill(4)))
    return value


def _sorted(value: object) -> object:
    value = _even(value)
    return dict(sorted(value.items())) if isinstance(value, dict) else value


Turns = Annotated[int, Field(ge=2, le=40)]


class Sources(Record):
    """How often each source decides what a speaker feels next; the rest is the speaker's own course."""

    contagion: Share = 0.2
    baseline: Share = 0.1
    event: Share = 0.1

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.contagion + self.baseline + self.event >= 1:
            raise ProblemsError([((), "contagion, baseline and event leave nothing to the speaker: lower one")])
        return self


class Dialogues(Record):
    """How many accepted dialogues, about what, by whom, and how their emotions move."""

    rows: Annotated[int, Field(ge=1, le=100_000_000)]
    from_stories: Share = 0.5  # half can be traced to a story; half go where the stories do not
    domains: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    turns: Annotated[dict[Turns, Weight], BeforeValidator(_whole), Field(min_length=1)] = Field(
        default_factory=lambda: dict.fromkeys(range(3, 11), 1.0)  # as DeepDialogue: 3 to 10
    )
    labels: Annotated[dict[str, Weight], BeforeValidator(_sorted), Field(min_length=2)] | None = None
    graph: Text = "affect"  # from valence and arousal, for any taxonomy; or a preset, or a YAML file
    persistence: Annotated[float, Field(ge=0, lt=1)] = 0.4  # feelings mostly last longer than one turn
    sources: Sources = Sources()
    writers: dict[Name, Writer] = Field(default_factory=dict)
    pairs: Annotated[tuple[tuple[Name, Name], ...], Field(min_length=1)] = ((OWN, OWN),)
    judge: Name = OWN
    max_words: Annotated[int, Field(ge=5, le=200)] = 25
    min_words: Annotated[int, Field(ge=1)] = 3  # people do say 'Not at all.'
    history_turns: Annotated[int, Field(ge=1)] = 8  # the window; a small model loses the thread of a longer one
    candidates: Annotated[int, Field(ge=1, le=16)] = 4
    tries: Annotated[int, Field(ge=1, le=100)] = 3  # dialogues written for each that is wanted
    adherence: Share = 0.5  # of the turns must be realised; below, the trajectory is another one
    judged: Share = 0.5  # what the mean of the judge's answers must reach
    shard_rows: Annotated[int, Field(ge=1, le=10_000)] = 16  # a dialogue is the work of ten utterances
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.85  # cosine at which a turn repeats another of its dialogue

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        problems: list[tuple[Place, str]] = []
        known = (OWN, *self.writers)
        for name in sorted({name for pair in self.pairs for name in pair} - set(known)):
            problems.append(
                (("pairs",), f"names a writer '{name}' that is not in writers. {did_you_mean(name, known)}")
            )
        if self.judge not in (*known, NONE):
            problems.append((("judge",), f"'{self.judge}' is not in writers. {did_you_mean(self.judge, known)}"))
        for reserved in {OWN, NONE} & set(self.writers):
            problems.append((("writers", reserved), "this name is taken: choose another"))
        if self.min_words > self.max_words:
            problems.append((("min_words",), f"is more than max_words ({self.max_words}): lower it"))
        if problems:
            raise ProblemsError(problems)
        return self

    @property
    def judge_writer(self) -> str | None:
        """The writer that judges; None for no judge."""
        return None if self.judge == NONE else self.judge
