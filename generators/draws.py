# SPDX-License-Identifier: Apache-2.0
"""Draw candidates from the writer until one passes its gates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from generators.chat import ChatReply
from generators.conversations import Conversation
from generators.parsing import Answer, parse_reply, storable
from generators.plans import SEED_SPACE
from generators.prompts import Prompt
from validators.gates import Gate, judge
from validators.records import PlannedUtterance, RejectedRow
from validators.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """What is asked at one stage of a row."""

    stage: str
    prompt: Prompt
    values: Mapping[str, str]
    schema: Mapping[str, object]
    shape: type[Answer]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Answer]):
    """A candidate that passed: its text, the whole answer, and at which attempt it came."""

    text: str
    answer: Answer
    attempt: int


def draw(
    plan: PlannedUtterance,
    question: Question[Answer],
    *,
    read: Callable[[Answer], str],
    gates: Sequence[Gate],
    attempts: int,
    temperature: float,
) -> Conversation[Drawn[Answer] | RejectedRow]:
    """Draw candidates until one passes all gates; if none does, the row is rejected for what the last one failed by.

    One at a time and not as a list: a small model repeats itself in a list, while a new seed gives a new text; the
    engine has the prompt in its cache; and no tokens go into candidates that nobody needs.
    """
    failed: list[tuple[str, Verdict, ChatReply]] = []
    for attempt in range(attempts):
        reply = yield question.prompt.request(
            question.values,
            schema=question.schema,
            max_tokens=question.max_tokens,
            temperature=temperature,
            seed=(plan.seed + attempt) % SEED_SPACE,
        )
        answer = parse_reply(reply, question.shape)
        if isinstance(answer, Verdict):
            failed.append(("parse", answer, reply))
            continue
        text = read(answer)
        verdict = judge(text, gates)
        if verdict.accepted:
            return Drawn(text, answer, attempt + 1)
        failed.append(("rules", verdict, reply))
    gate, last, _ = failed[-1]
    return RejectedRow(
        planned_id=plan.utterance_id,
        stage=question.stage,
        gate=gate,
        reason=last.reason or "",
        detail="; ".join(f"{verdict.reason}: {verdict.detail}" for _, verdict, _ in failed)[:400],
        label=plan.intended.label,
        attempt=len(failed),
        seed=plan.seed,
        reply=storable("\n".join(reply.text for _, _, reply in failed)),
    )
