# SPDX-License-Identifier: Apache-2.0
"""Draw candidates from the writer until one passes its gates and a blind reader finds in it what was intended.

This is the loop of every stage: write -> rule gates -> read -> realised? -> repair -> read. What is read and when it
counts as realised is up to the stage, through a `Check`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

from generators.chat import ChatReply
from generators.conversations import Conversation, ask
from generators.parsing import Answer, parse_reply, storable
from generators.prompts import Prompt
from generators.shares import SEED_SPACE
from validators.gates import copies_nothing
from validators.judging import Gate, judge
from validators.readings import Reading
from validators.records import RejectedRow
from validators.verdicts import Verdict

ECHO_NGRAM = 3  # advice is a dozen words, of which a small model says a few as its line
NOT_REALISED = "not_realised"
READER = "reader"


class Planned(Protocol):
    """What is drawn: an id under which it is accounted for, the label it is to have, and a seed."""

    @property
    def planned_id(self) -> str:
        """The id of the planned row."""
        ...

    @property
    def label(self) -> str:
        """The intended label; "" where what is drawn has none."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the first attempt; the next ones count on from it."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of reading a candidate.

    `margin` orders candidates that were not realised, `repair` is what the writer is told before it writes again, and
    `readings` are kept with the row.
    """

    realised: bool
    margin: float
    repair: str
    heard: str
    readings: tuple[Reading, ...]


Check = Callable[[str], Conversation[Finding]]
"""Reads a candidate that passed the rule gates."""


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """What is asked at one stage of a row. A template with `$notes` gets there what became of the last try."""

    stage: str
    prompt: Prompt
    values: Mapping[str, str]
    schema: Mapping[str, object]
    shape: type[Answer]
    max_tokens: int
    notes: str = ""
    """What the writer is told from the start, such as openings not to use."""
    avoid_words: tuple[str, ...] = ()
    """Words by which a gate would reject the reply: an engine that can does not write them in the first place."""
    advice: Mapping[str, str] = field(default_factory=dict)
    """By the reason of a rule, what the writer is told before it tries again; of other reasons it is told nothing."""
    writer: str = ""
    """Which of the run's writers is asked; see `ChatRequest`."""
    by_attempt: Sequence[Mapping[str, str]] = ()
    """Values of which each attempt takes the next: asked in the same words, a small model says the same again."""

    def values_at(self, attempt: int) -> Mapping[str, str]:
        """The values of one attempt, counted from 0."""
        return {**self.values, **(self.by_attempt[attempt % len(self.by_attempt)] if self.by_attempt else {})}


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Answer]):
    """A candidate that passed the gates: its text, the whole answer, at which attempt it came, and how it was read.

    `realised_at_first` is about the first candidate that passed the gates, whichever this one is; both are None
    without a reader.
    """

    text: str
    answer: Answer
    attempt: int
    finding: Finding | None = None
    realised_at_first: bool | None = None


@dataclass(slots=True)
class _Tries(Generic[Answer]):
    """What became of the attempts so far."""

    failed: list[tuple[str, Verdict, ChatReply]] = field(default_factory=list)
    misses: list[Drawn[Answer]] = field(default_factory=list)


def draw(
    plan: Planned,
    question: Question[Answer],
    *,
    read: Callable[[Answer], str],
    gates: Sequence[Gate],
    attempts: int,
    temperature: float,
    check: Check | None = None,
) -> Conversation[Drawn[Answer] | RejectedRow]:
    """Draw candidates until one passes all gates and is realised.

    If none is realised, the one that came closest is returned with its finding, and the caller decides what becomes of
    it; if none passes the gates, the row is rejected for what the last one failed by.

    One at a time and not as a list: a small model repeats itself in a list, while a new seed gives a new text; the
    engine has the prompt in its cache; and no tokens go into candidates that nobody needs.
    """
    tries: _Tries[Answer] = _Tries()
    told = advice = ""
    for attempt in range(attempts):
        reply = yield from ask(
            question.prompt.request(
                {**question.values_at(attempt), "notes": question.notes + advice},
                schema=question.schema,
                max_tokens=question.max_tokens,
                temperature=temperature,
                seed=(plan.seed + attempt) % SEED_SPACE,
                avoid_words=question.avoid_words,
                writer=question.writer,
            )
        )
        answer = parse_reply(reply, question.shape)
        if isinstance(answer, Verdict):
            tries.failed.append(("parse", answer, reply))
            continue
        text = read(answer)
        verdict = judge(text, gates, where=f"row {plan.planned_id}, stage {question.stage}")
        if verdict.accepted:  # "It's your own name." is what it was told, and no line
            verdict = copies_nothing(text, source=told, n=ECHO_NGRAM, reason="prompt_residue")
        if not verdict.accepted:
            tries.failed.append(("rules", verdict, reply))
            if what := question.advice.get(verdict.reason or ""):
                # without what it said: a small model says again what it has read last
                told, advice = what, f"\nYou had another line first. {what}"
            continue
        if check is None:
            return Drawn(text, answer, attempt + 1)
        finding = yield from check(text)
        if finding.realised:
            return Drawn(text, answer, attempt + 1, finding, realised_at_first=not tries.misses)
        told, advice = "", finding.repair
        tries.misses.append(Drawn(text, answer, attempt + 1, finding, realised_at_first=False))
    if tries.misses:
        return max(tries.misses, key=lambda miss: miss.finding.margin if miss.finding else 0.0)
    return _rejected(plan, question.stage, tries.failed)


def missed(plan: Planned, stage: str, drawn: Drawn[Answer]) -> RejectedRow:
    """Reject a row whose best candidate was not realised."""
    return RejectedRow(
        planned_id=plan.planned_id,
        stage=stage,
        gate=READER,
        reason=NOT_REALISED,
        detail=f"heard as {drawn.finding.heard}" if drawn.finding else "",
        label=plan.label,
        attempt=drawn.attempt,
        seed=plan.seed,
        reply=storable(drawn.text),
        heard=drawn.finding.readings[0].ranking[0] if drawn.finding else "",
    )


def _rejected(plan: Planned, stage: str, failed: Sequence[tuple[str, Verdict, ChatReply]]) -> RejectedRow:
    gate, last, _ = failed[-1]
    return RejectedRow(
        planned_id=plan.planned_id,
        stage=stage,
        gate=gate,
        reason=last.reason or "",
        detail="; ".join(f"{verdict.reason}: {verdict.detail}" for _, verdict, _ in failed)[:400],
        label=plan.label,
        attempt=len(failed),
        seed=plan.seed,
        reply=storable("\n".join(reply.text for _, _, reply in failed)),
    )
