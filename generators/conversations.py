# SPDX-License-Identifier: Apache-2.0
"""Many rows side by side on one engine.

How a row is made is written as a generator that yields requests and receives replies, so that it reads from top to
bottom; `side_by_side` advances thousands of them and keeps the engine full. A passage to be read blind is yielded in
the same way and comes back as a `Reading`; readings take no slot of the writer's engine.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

from generators.chat import ChatReply, ChatRequest, Message
from validators.errors import DeferredError
from validators.readings import Reading
from validators.roles import Passage

Row = TypeVar("Row")
Asked = ChatRequest | Passage
Answered = ChatReply | Reading
Conversation = Generator[Asked, Answered, Row]
Kind = tuple[Message, ...]
"""The messages before the last: the constant part of a prompt, which an engine keeps in its prefix cache."""

OPEN_PER_SLOT = 8  # rows begun for each slot: enough to choose from, few enough that a crash leaves little half done


def ask(request: ChatRequest) -> Conversation[ChatReply]:
    """Ask the writer, within a conversation."""
    reply = yield request
    if not isinstance(reply, ChatReply):
        raise TypeError(f"a request was answered by a {type(reply).__name__}")
    return reply


def read_blind(passage: Passage) -> Conversation[Reading]:
    """Have a passage read, within a conversation."""
    reading = yield passage
    if not isinstance(reading, Reading):
        raise TypeError(f"a passage was answered by a {type(reading).__name__}")
    return reading


def side_by_side(
    conversations: Iterable[Conversation[Row]],
    submit: Callable[[ChatRequest], Future[ChatReply]],
    slots: int,
    read: Callable[[Passage], Future[Reading]] | None = None,
) -> Iterator[tuple[int, Row | DeferredError]]:
    """Advance conversations, at most `slots` requests in flight, and yield each row with its position as it ends.

    `read` is asked for the passages that conversations yield; those that yield none need no reader.

    A freed slot gets a request of the kind that it has just answered, as long as one waits, and the same question
    with another seed before all others: an engine whose slots have caches of their own then reads the constant part of
    a prompt once per slot and kind, and not at every change.
    A row whose model did not answer ends as its `DeferredError`; any other failure stops all.
    """
    desk = _Desk(conversations, OPEN_PER_SLOT * slots)
    in_flight: dict[Future[Any], tuple[int, Conversation[Row], Asked]] = {}
    freed: list[Kind | None] = [None] * slots
    ended: list[tuple[int, Row | DeferredError]] = []
    while True:
        ended += desk.begin()
        while freed and (taken := desk.take(freed[-1])):
            freed.pop()
            in_flight[submit(taken[2])] = taken
            ended += desk.begin()
        while desk.to_read:
            position, conversation, passage = desk.to_read.popleft()
            if read is None:
                raise TypeError("a conversation has something to read, and there is no reader")
            in_flight[read(passage)] = position, conversation, passage
        yield from ended  # only now: the engine works while whoever reads the rows does
        ended.clear()
        if not in_flight:
            return
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            position, conversation, asked = in_flight.pop(future)
            if isinstance(asked, ChatRequest):
                freed.append(asked.messages[:-1])
            try:
                reply = future.result()
            except DeferredError as error:
                desk.n_open -= 1
                conversation.close()
                ended.append((position, error))
                continue
            ended += desk.advance(position, conversation, reply, asked)


class _Desk(Generic[Row]):
    """The conversations that are open, and their requests that wait for a slot, by kind."""

    def __init__(self, conversations: Iterable[Conversation[Row]], most_open: int) -> None:
        self._new = enumerate(conversations)
        self._most_open = most_open
        self._waiting: dict[Kind, deque[tuple[int, Conversation[Row], ChatRequest]]] = {}
        self.to_read: deque[tuple[int, Conversation[Row], Passage]] = deque()
        self.n_open = 0

    def begin(self) -> Iterator[tuple[int, Row]]:
        """Open conversations until enough are; yields those that end without a question."""
        while self.n_open < self._most_open and (begun := next(self._new, None)):
            self.n_open += 1
            yield from self.advance(*begun, None, None)

    def advance(
        self, position: int, conversation: Conversation[Row], reply: Answered | None, answered: Asked | None
    ) -> Iterator[tuple[int, Row]]:
        """Hand a reply to a conversation; its next request waits, or its row is yielded if that was the last one."""
        try:
            request = next(conversation) if reply is None else conversation.send(reply)
        except StopIteration as end:
            self.n_open -= 1
            yield position, end.value
            return
        if isinstance(request, Passage):
            self.to_read.append((position, conversation, request))
            return
        queue = self._waiting.setdefault(request.messages[:-1], deque())
        if isinstance(answered, ChatRequest) and request.messages == answered.messages:
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
