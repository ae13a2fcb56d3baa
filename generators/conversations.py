# SPDX-License-Identifier: Apache-2.0
"""Many rows side by side on one engine.

How a row is made is written as a generator that yields requests and receives replies, so that it reads from top to
bottom; `side_by_side` advances thousands of them and keeps the engine full. A passage to be read blind is yielded in
the same way and comes back as a `Reading`; the slot waits for it, since a repair asks almost the same again.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from generators.chat import ChatReply, ChatRequest, Message
from validators.errors import DeferredError
from validators.readings import Reading
from validators.roles import Passage

Row = TypeVar("Row")
Asked = ChatRequest | Passage
Answered = ChatReply | Reading
Conversation = Generator[Asked, Answered, Row]
Kind = tuple[str, tuple[Message, ...]]
"""The writer, and the messages before the last: the constant part of a prompt, which an engine keeps in its prefix
cache."""

OPEN_PER_SLOT = 8  # rows begun for each slot: enough to choose from, few enough that a crash leaves little half done
FEW_SLOTS = 8  # so many an engine on a CPU has, which no longer gains by more


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


@dataclass(eq=False, slots=True)
class Slot:
    """One of the requests that an engine answers at a time, and the kind of the last one."""

    kind: Kind | None = None


def asked_at_once(slots: int) -> int:
    """Tell how many requests to hand to an engine of so many slots.

    A sixteenth more wait in its client, so that one is at hand the moment another is answered, while we store and judge
    that. Engines of few slots get none: there a slot is a cache, and the next request of its conversation fits it best.
    """
    return slots + (slots // 16 if slots > FEW_SLOTS else 0)


class Slots:
    """The slots of an engine, shared by all who write on it, such as two shards; given out in the order asked for."""

    def __init__(self, number: int) -> None:
        self._free = [Slot() for _ in range(number)]
        self._asked: deque[Future[Slot]] = deque()
        self._lock = threading.Lock()

    def acquire(self) -> Future[Slot]:
        """Ask for a slot. Who no longer wants one cancels, or gives it back."""
        future: Future[Slot] = Future()
        with self._lock:
            self._asked.append(future)
        self._give()
        return future

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        with self._lock:
            self._free.append(slot)
        self._give()

    def _give(self) -> None:
        with self._lock:
            while self._free and self._asked:
                future = self._asked.popleft()
                if future.set_running_or_notify_cancel():
                    future.set_result(self._free.pop())


@dataclass(eq=False, slots=True)
class _Open(Generic[Row]):
    """A conversation that has begun, what it asks, and the slot that it holds."""

    position: int
    talk: Conversation[Row]
    asked: Asked | None = None
    slot: Slot | None = None


def side_by_side(
    conversations: Iterable[Conversation[Row]],
    submit: Callable[[ChatRequest], Future[ChatReply]],
    slots: Slots,
    read: Callable[[Passage], Future[Reading]] | None = None,
) -> Iterator[tuple[int, Row | DeferredError]]:
    """Advance conversations, each in flight in a slot, and yield each row with its position as it ends.

    `read` is asked for the passages that conversations yield; those that yield none need no reader.

    A slot stays with its conversation while that asks the same kind of question, through the readings in between: an
    engine whose slots have caches of their own then reads a repaired prompt from where it differs (on two cores, the
    passage and the question are two thirds of what a try costs). Otherwise it gets a request of the kind that it has
    just answered, as long as one waits, so that the constant part of a prompt is read once per slot. What is not
    needed here goes back to those who share the engine.
    A row whose model did not answer ends as its `DeferredError`; any other failure stops all.
    """
    desk = _Desk(conversations, slots)

    def send(conversation: _Open[Row]) -> None:
        if isinstance(conversation.asked, ChatRequest):
            future: Future[Any] = submit(conversation.asked)
        elif conversation.asked is None or read is None:
            raise TypeError("a conversation has something to read, and there is no reader")
        else:
            future = read(conversation.asked)
        in_flight[future] = conversation
        future.add_done_callback(desk.done.put)

    in_flight: dict[Future[Any], _Open[Row]] = {}
    try:
        while True:
            desk.begin()
            for conversation in desk.served():
                send(conversation)
            yield from desk.ended  # only now: the engine works while whoever reads the rows does
            desk.ended.clear()
            if not in_flight and desk.wanted is None:
                return
            for future in desk.wait():
                if (answered := in_flight.pop(future, None)) and desk.answer(answered, future):
                    send(answered)
    finally:
        desk.leave()


@dataclass(eq=False)
class _Desk(Generic[Row]):
    """The conversations that are open, those that wait for a slot, by kind, and the rows that have ended."""

    conversations: Iterable[Conversation[Row]]
    slots: Slots
    wanted: Future[Slot] | None = None
    done: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue)
    """What is done of all that was asked for, slots too. Not `concurrent.futures.wait`, which looks at every future in
    flight each time: 0.2 ms of 256 of them for each reply, more than all else that is done here for a row."""
    ended: list[tuple[int, Row | DeferredError]] = field(default_factory=list)
    _n_open: int = 0
    _held: set[Slot] = field(default_factory=set)
    _freed: list[Slot] = field(default_factory=list)
    _waiting: dict[Kind | None, deque[_Open[Row]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._new = enumerate(self.conversations)

    def begin(self) -> None:
        """Open conversations until there are enough to choose from."""
        while self._n_open < OPEN_PER_SLOT * max(1, len(self._held)) and (begun := next(self._new, None)):
            self._n_open += 1
            conversation = _Open(*begun)
            if self._advance(conversation, None):
                self._queue(conversation)

    def served(self) -> Iterator[_Open[Row]]:
        """Give slots to those that wait, and ask for more slots or give them back."""
        while self._waiting:
            if self.wanted is None:
                self.wanted = self.slots.acquire()
                self.wanted.add_done_callback(self.done.put)
            if not self._freed and self.wanted.done():
                self._hold(self.wanted)
            if not self._freed:
                return
            yield self._take(self._freed.pop())
            self.begin()
        self._give_back(self._freed)

    def answer(self, conversation: _Open[Row], future: Future[Any]) -> bool:
        """Hand what came of a request to its conversation; whether it goes on in the same slot.

        A model that did not answer ends the row.
        """
        try:
            reply = future.result()
        except DeferredError as error:
            conversation.talk.close()
            self._end(conversation, error)
        else:
            asked = self._advance(conversation, reply)
            slot = conversation.slot
            if isinstance(asked, Passage) or (asked and slot and _kind(asked) == slot.kind):
                return True
        if conversation.slot:
            self._freed.append(conversation.slot)
            conversation.slot = None
        if conversation.asked:
            self._queue(conversation)
        return False

    def wait(self) -> Iterator[Future[Any]]:
        """Wait until something is done, and give all that is; a slot, which `served` takes, may be among it."""
        yield self.done.get()
        while not self.done.empty():
            yield self.done.get()

    def leave(self) -> None:
        """Give back every slot, also those of conversations that are not over."""
        self._give_back(self._held)

    def _hold(self, wanted: Future[Slot]) -> None:
        self._freed.append(wanted.result())
        self._held.add(self._freed[-1])
        self.wanted = None

    def _give_back(self, unused: Collection[Slot]) -> None:
        if self.wanted and not self.wanted.cancel():
            self._hold(self.wanted)
        self.wanted = None
        for slot in list(unused):
            self._held.discard(slot)
            self.slots.release(slot)
        self._freed.clear()

    def _advance(self, conversation: _Open[Row], reply: Answered | None) -> Asked | None:
        """Hand a reply to a conversation; what it asks next, or None where that was the last and its row has ended."""
        try:
            conversation.asked = next(conversation.talk) if reply is None else conversation.talk.send(reply)
        except StopIteration as end:
            self._end(conversation, end.value)
        return conversation.asked

    def _end(self, conversation: _Open[Row], row: Row | DeferredError) -> None:
        conversation.asked = None
        self._n_open -= 1
        self.ended.append((conversation.position, row))

    def _queue(self, conversation: _Open[Row]) -> None:
        self._waiting.setdefault(_kind(conversation.asked), deque()).append(conversation)

    def _take(self, slot: Slot) -> _Open[Row]:
        """Serve the oldest that waits with the slot's kind of request, or of the kind that most wait with."""
        if slot.kind not in self._waiting:
            slot.kind = max(self._waiting, key=lambda one: len(self._waiting[one]))
        queue = self._waiting[slot.kind]
        taken = queue.popleft()
        if not queue:
            del self._waiting[slot.kind]
        taken.slot = slot
        return taken


def _kind(asked: Asked | None) -> Kind | None:
    return (asked.writer, asked.messages[:-1]) if isinstance(asked, ChatRequest) else None
