# SPDX-License-Identifier: Apache-2.0
"""Every reply of a model, kept by what produced it, so that nothing paid for is asked twice.

What is in flight when a run dies is all that can be lost. A changed prompt asks anew only what it changed.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, fields

from flows.meter import EngineMeter, Question
from flows.reply_store import ReplyStore
from flows.sealed import sha256_of
from flows.worker_replies import Replies
from generators.chat import Chat, ChatReply, ChatRequest
from validators.errors import StorageError

__all__ = ["ChatUsage", "ReplyStore", "StoredChat", "reply_key"]


_ASKED = tuple(one.name for one in fields(ChatRequest) if one.name not in {"writer", "messages"})


def reply_key(request: ChatRequest, model: str) -> str:
    """Hash everything that produces a reply. What a recipe calls its writer does not: the model says who answered."""
    # not `asdict`, which copies every message: the key of a stored reply took longer to make than to look up
    asked = {name: getattr(request, name) for name in _ASKED}
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return sha256_of({**asked, "messages": messages, "model": model})


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """What was asked of a model so far. `busy_s` is the time with at least one request in the engine."""

    calls: int = 0
    hits: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_s: float = 0.0


class StoredChat:
    """A Chat that asks the one it wraps only what the store does not know, and once for the same request in flight."""

    def __init__(self, chat: Chat, store: Replies, meter: EngineMeter | None = None) -> None:
        self._chat = chat
        self._store = store
        self._meter = meter or EngineMeter()
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Future[ChatReply]]] = {}
        self._calls = self._hits = self._failed = self._prompt_tokens = self._completion_tokens = 0
        self._in_engine = 0
        self._busy_s = 0.0
        self._busy_since = 0.0

    @property
    def model(self) -> str:
        """Name and revision of the wrapped model."""
        return self._chat.model

    @property
    def slots(self) -> int:
        """How many requests in flight keep the engine full."""
        return self._chat.slots

    @property
    def usage(self) -> ChatUsage:
        """What was asked up to now."""
        with self._lock:
            running_s = time.monotonic() - self._busy_since if self._in_engine else 0.0
            return ChatUsage(
                calls=self._calls,
                hits=self._hits,
                failed=self._failed,
                prompt_tokens=self._prompt_tokens,
                completion_tokens=self._completion_tokens,
                busy_s=self._busy_s + running_s,
            )

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Answer from the store, join the same request in flight, or ask the model."""
        key = reply_key(request, self._chat.model)
        future: Future[ChatReply] = Future()
        with self._lock:
            if key in self._waiting:
                self._hits += 1
                self._waiting[key].append(future)
                return future
            known = self._store.get(key)
            if known is None:
                self._calls += 1
                self._waiting[key] = [future]
                self._enter_engine()
            else:
                self._hits += 1
        if known is not None:
            future.set_result(known)
            return future
        question = self._meter.enter(request)
        # outside the lock: an engine may answer at once, in this thread
        try:
            asked = self._chat.submit(request)
        except BaseException as error:
            self._leave_engine(question, None)
            _fail(self._take_waiting(key), error)
            raise
        asked.add_done_callback(lambda done: self._receive(key, question, done))
        return future

    def close(self) -> None:
        """Stop the engine; who still waits is told by cancellation. The store stays open, since others may use it."""
        self._chat.close()
        with self._lock:
            left = [future for futures in self._waiting.values() for future in futures]
            self._waiting.clear()
        _cancel(left)

    def _receive(self, key: str, question: Question, asked: Future[ChatReply]) -> None:
        """Store a reply as it comes, and only then hand it out."""
        if asked.cancelled():
            self._leave_engine(question, None)
            _cancel(self._take_waiting(key))
            return
        refusal = asked.exception()
        if refusal is not None:
            self._leave_engine(question, None)
            _fail(self._take_waiting(key), refusal)
            return
        reply = asked.result()
        self._leave_engine(question, reply)
        try:
            self._store.put(key, reply)
        except StorageError as error:  # told to all who wait
            _fail(self._take_waiting(key), error)
            return
        except BaseException as error:
            # a future that is never resolved would hang the run; concurrent.futures logs what is raised here
            _fail(self._take_waiting(key), error)
            raise
        for future in self._take_waiting(key):
            if future.set_running_or_notify_cancel():
                future.set_result(reply)

    def _take_waiting(self, key: str) -> list[Future[ChatReply]]:
        with self._lock:
            return self._waiting.pop(key, [])

    def _enter_engine(self) -> None:
        if self._in_engine == 0:
            self._busy_since = time.monotonic()
        self._in_engine += 1

    def _leave_engine(self, question: Question, reply: ChatReply | None) -> None:
        self._meter.leave(question, reply)
        with self._lock:
            self._in_engine -= 1
            if self._in_engine == 0:
                self._busy_s += time.monotonic() - self._busy_since
            if reply is None:
                self._failed += 1
            else:
                self._prompt_tokens += reply.prompt_tokens
                self._completion_tokens += reply.completion_tokens


def _fail(futures: list[Future[ChatReply]], error: BaseException) -> None:
    for future in futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)


def _cancel(futures: list[Future[ChatReply]]) -> None:
    for future in futures:
        future.cancel()
        future.set_running_or_notify_cancel()  # wakes who waits for it
