# SPDX-License-Identifier: Apache-2.0
"""A Chat judge for coherence: three questions about a dialogue, each answered by the probability of yes."""

import numpy as np

from generators.chat import MAX_TOP_LOGPROBS, TokenLogprobs
from generators.conversations import Conversation, ask
from generators.dialogues.scenes import DialogueScene, Premise, lines_of
from generators.dialogues.turns import premise_values
from generators.prompts import load_prompt
from validators.dialogue_records import Judged, Turn

QUESTIONS = {
    "relevance": "Does every line answer the line before it?",
    "consistency": "Do both speakers stay who they are and keep to the facts?",
    "reasons": "Is there a reason for every change of feeling?",
}


def judge(scene: DialogueScene, premise: Premise, turns: tuple[Turn, ...]) -> Conversation[Judged | None]:
    """Ask the judge, if there is one; the dialogue is read once, since the question comes last."""
    if scene.settings.judge is None:
        return None
    lines = lines_of(scene.plan.names, tuple(turn.text for turn in turns))
    return (yield from judge_lines(scene, premise, lines, writer=scene.settings.judge))


def judge_lines(scene: DialogueScene, premise: Premise, lines: str, *, writer: str) -> Conversation[Judged]:
    """Ask the three questions about lines."""
    answers: dict[str, float] = {}
    for name, question in QUESTIONS.items():
        reply = yield from ask(
            load_prompt("dialogue_judge").request(
                {**premise_values(scene, premise), "lines": lines, "question": question},
                schema=None,  # under a schema the first token would be a quotation mark
                max_tokens=1,
                temperature=0.0,
                seed=0,
                top_logprobs=MAX_TOP_LOGPROBS,
                writer=writer,
            )
        )
        answers[name] = probability_of_yes(reply.first_token)
    return Judged(**answers)


def probability_of_yes(first_token: TokenLogprobs) -> float:
    """Share of yes among the alternatives that begin yes or no; one half where none does."""
    mass = {"yes": 0.0, "no": 0.0}
    for token, logprob in first_token:
        word = token.strip().casefold()
        if word in mass:
            mass[word] += float(np.exp(logprob))
    total = mass["yes"] + mass["no"]
    return mass["yes"] / total if total else 0.5
