# SPDX-License-Identifier: Apache-2.0
"""Conversations with a scripted model: each prompt gets the reply that a test gives it."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from generators.backends.echo import ScriptedChat
from generators.chat import ChatReply, ChatRequest
from generators.conversations import Conversation, Row, Slots, side_by_side
from generators.prompts import DIALOGUE_PROMPTS, PROMPTS, PromptName, load_prompt
from validators.readings import Reading, make_reading
from validators.roles import Passage

Script = dict[str, object] | str | ChatReply
Replies = Script | list[Script]
CUT = ChatReply('{"cause": "the', "length", 10, 5)


def prompt_of(request: ChatRequest) -> PromptName:
    """Tell by its constant part which prompt a request was made from."""
    return next(name for name in (*PROMPTS, *DIALOGUE_PROMPTS) if request.messages[:-1] == load_prompt(name).constant)


def question(request: ChatRequest) -> str:
    """The part of a request that is its row's own."""
    return request.messages[-1].content


def scripted(**replies: Replies) -> ScriptedChat:
    """Make a chat that answers each prompt as its keyword says, a list in turn; one without must not be asked."""
    left = {name: list(reply) if isinstance(reply, list) else [reply] for name, reply in replies.items()}

    def answer(request: ChatRequest) -> ChatReply | str:
        script = left[prompt_of(request)]
        reply = script.pop(0) if len(script) > 1 else script[0]
        return json.dumps(reply, ensure_ascii=False) if isinstance(reply, dict) else reply

    return ScriptedChat(answer)


class ScriptedReader:
    """Reads each passage as a test says: a function of text and context to scores by label; others get 0.01."""

    def __init__(self, labels: Sequence[str], scores: Callable[[Passage], Mapping[str, float]]) -> None:
        self.labels = tuple(labels)
        self.passages: list[Passage] = []
        self._scores = scores

    def submit(self, passage: Passage) -> Future[Reading]:
        self.passages.append(passage)
        given = self._scores(passage)
        future: Future[Reading] = Future()
        scores = [given.get(label, 0.01) for label in self.labels]
        future.set_result(make_reading(self.labels, scores, [0.5] * len(self.labels)))
        return future


def finish(conversation: Conversation[Row], chat: ScriptedChat, reader: ScriptedReader | None = None) -> Row:
    """Run one conversation to its end."""
    ((position, row),) = side_by_side([conversation], chat.submit, Slots(1), reader.submit if reader else None)
    assert position == 0
    if isinstance(row, Exception):
        raise row
    return row


def asked(chat: ScriptedChat) -> list[PromptName]:
    """The prompts that were asked, in order."""
    return [prompt_of(request) for request in chat.requests]
