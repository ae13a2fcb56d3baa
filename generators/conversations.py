# SPDX-License-Identifier: Apache-2.0
"""Many rows side by side on one engine.

How a row is made is written as a generator that yields requests and receives replies, so that it reads from top to
bottom; `side_by_side` advances thousands of them and keeps the engine full.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

from generators.chat import ChatReply, ChatRequest
from validators.errors import DeferredError

Row = TypeVar("Row")
Conversation = Generator[ChatRequest, ChatReply, Row]


def side_by_side(
    conversations: Iterable[Conversation[Row]], submit: Callable[[ChatRequest], Future[ChatReply]], slots: int
) -> Iterator[tuple[int, Row | DeferredError]]:
    """Advance conversations, at most `slots` requests in flight, and yield each row with its position as it ends.

    A conversation that is under way goes before a new one, so that rows finish early and little is open at a crash.
    A row whose model did not answer ends as its `DeferredError`; any other failure stops all.
    """
    waiting = enumerate(conversations)
    in_flight: dict[Future[ChatReply], tuple[int, Conversation[Row]]] = {}
    exhausted = False
    while True:
        while not exhausted and len(in_flight) < slots:
            begun = next(waiting, None)
            if begun is None:
                exhausted = True
                break
            position, conversation = begun
            row = yield_or_submit(conversation, None, submit)
            if isinstance(row, Future):
                in_flight[row] = (position, conversation)
            else:
                yield position, row
        if not in_flight:
            return
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            position, conversation = in_flight.pop(future)
            try:
                reply = future.result()
            except DeferredError as error:
                conversation.close()
                yield position, error
                continue
            row = yield_or_submit(conversation, reply, submit)
            if isinstance(row, Future):
                in_flight[row] = (position, conversation)
            else:
                yield position, row


def yield_or_submit(
    conversation: Conversation[Row], reply: ChatReply | None, submit: Callable[[ChatRequest], Future[ChatReply]]
) -> Row | Future[ChatReply]:
    """Hand a reply to a conversation: the future of its next request, or its row if that was the last one."""
    try:
        request = next(conversation) if reply is None else conversation.send(reply)
    except StopIteration as end:
        row: Row = end.value
        return row
    return submit(request)
