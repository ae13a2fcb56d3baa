# SPDX-License-Identifier: Apache-2.0
"""Many rows side by side on one engine.

How a row is made is written as a generator that yields requests and receives replies, so that it reads from top to
bottom; `side_by_side` advances thousands of them and keeps the engine full.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Generic, TypeVar

from generators.chat import ChatReply, ChatRequest, Message
from validators.errors import DeferredError

Row = TypeVar("Row")
Conversation = Generator[ChatRequest, ChatReply, Row]
Kind = tuple[Message, ...]
"""The messages before the last: the constant part of a prompt, which an engine keeps in its prefix cache."""

OPEN_PER_SLOT = 8  # rows begun for each slot: enough to choose from, few enough that a crash leaves little half done


def side_by_side(
    conversations: Iterable[Conversation[Row]], submit: Callable[[ChatRequest], Future[ChatReply]], slots: int
) -> Iterator[tuple[int, Row | DeferredError]]:
    """Advance conversations, at most `slots` requests in flight, and yield each row with its position as it ends.

    A freed slot gets a request of the kind that it has just answered, as long as one waits, and the same question
    with another seed before all others: an engine whose slots have caches of their own then reads the constant part of
    a prompt once per slot and kind, and not at every change.
    A row whose model did not answer ends as its `DeferredError`; any other failure stops all.
    """
    desk = _Desk(conversations, OPEN_PER_SLOT * slots)
    in_flight: dict[Future[ChatReply], tuple[int, Conversation[Row], ChatRequest]] = {}
    freed: list[Kind | None] = [None] * slots
    ended: list[tuple[int, Row | DeferredError]] = []
    while True:
        ended += desk.begin()
        while freed and (taken := desk.take(freed[-1])):
            freed.pop()
            in_flight[submit(taken[2])] = taken
            ended += desk.begin()
        yield from ended  # only now: the engine works while whoever reads the rows does
        ended.clear()
        if not in_flight:
            return
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            position, conversation, request = in_flight.pop(future)
            freed.append(request.messages[:-1])
            try:
                reply = future.result()
            except DeferredError as error:
                desk.n_open -= 1
                conversation.close()
                ended.append((position, error))
                continue
            ended += desk.advance(position, conversation, reply, request)


class _Desk(Generic[Row]):
    """The conversations that are open, and their requests that wait for a slot, by kind."""

    def __init__(self, conversations: Iterable[Conversation[Row]], most_open: int) -> None:
        self._new = enumerate(conversations)
        self._most_open = most_open
        self._waiting: dict[Kind, deque[tuple[int, Conversation[Row], ChatRequest]]] = {}
        self.n_open = 0

    def begin(self) -> Iterator[tuple[int, Row]]:
        """Open conversations until enough are; yields those that end without a question."""
        while self.n_open < self._most_open and (begun := next(self._new, None)):
            self.n_open += 1
            yield from self.advance(*begun, None, None)

    def advance(
        self, position: int, conversation: Conversation[Row], reply: ChatReply | None, answered: ChatRequest | None
    ) -> Iterator[tuple[int, Row]]:
        """Hand a reply to a conversation; its next request waits, or its row is yielded if that was the last one."""
        try:
            request = next(conversation) if reply is None else conversation.send(reply)
        except StopIteration as end:
            self.n_open -= 1
            yield position, end.value
            return
        queue = self._waiting.setdefault(request.messages[:-1], deque())
        if answered and request.messages == answered.messages:
            queue.appendleft((position, conversation, request))
        else:
            queue.append((position, conversation, request))

    def take(self, kind: Kind | None) -> tuple[int, Conversation[Row], ChatRequest] | None:
        """Take the oldest request of a kind, or of the kind that most wait for."""
        if kind not in self._waiting:
            kind = max(self._waiting, key=lambda one: len(self._waiting[one]), default=None)
        if kind is None:
            return None
        queue = self._waiting[kind]
        taken = queue.popleft()
        if not queue:
            del self._waiting[kind]
        return taken
