# SPDX-License-Identifier: Apache-2.0
"""A Chat whose server is ours: started when first asked, started again once if it ends, ended with the run."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from flows.servers import Served, Server, Servers
from generators.backends.endings import closed_error, copy_error
from generators.backends.registry import open_chat
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings
from validators.errors import AffectoryError, ModelError

CLOSE_TIMEOUT_S = 30.0  # what ending a server may take

Connect = Callable[[ChatSettings], Chat]


@dataclass(frozen=True, slots=True)
class _Asked:
    request: ChatRequest
    future: Future[ChatReply]


def _connect(settings: ChatSettings) -> Chat:
    return open_chat("openai", settings)


class ServedChat:
    """Requests wait while the server comes up; those that a dying server did not answer are asked of the next one.

    The thread starts the server and outlives it: the kernel's signal to its guard is bound to the thread that made it.
    """

    def __init__(self, servers: Servers, served: Served, *, connect: Connect = _connect) -> None:
        self._servers = servers
        self._served = served
        self._connect = connect
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._server: Server | None = None
        self._chat: Chat | None = None
        self._ended: AffectoryError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"server-{served.name}", daemon=True)
        self._thread.start()

    @property
    def model(self) -> str:
        """Name and revision of the weights, as of the engine in this process."""
        settings = self._served.settings
        return f"{settings.name}@{settings.revision}" if settings.revision else settings.name

    @property
    def slots(self) -> int:
        """How many requests are kept at the server."""
        return self._served.settings.slots

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Hand a request to the server, or keep it until there is one."""
        future: Future[ChatReply] = Future()
        future.set_running_or_notify_cancel()  # from here on only this class ends the future
        self._ask(_Asked(request, future))
        return future

    def close(self) -> None:
        """Drop all requests and end the server."""
        with self._lock:
            self._ended = self._ended or closed_error()
            server = self._server
        self._closing.set()
        if server is not None:
            server.stop()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _ask(self, asked: _Asked) -> None:
        with self._lock:
            ended, chat = self._ended, self._chat
            if ended is None and chat is None:
                self._waiting.append(asked)
                return
        if ended is not None or chat is None:
            _refuse(asked, ended)
            return
        chat.submit(asked.request).add_done_callback(lambda reply: self._receive(chat, asked, reply))

    def _receive(self, chat: Chat, asked: _Asked, reply: Future[ChatReply]) -> None:
        error = reply.exception()
        if error is None:
            asked.future.set_result(reply.result())
            return
        with self._lock:
            # whatever the client says of it: with its server gone, the request has had no answer
            lost = self._chat is not chat or self._server is None or not self._server.is_alive()
            ended = self._ended
            if lost and ended is None:
                self._waiting.append(asked)
                return
        if lost:
            _refuse(asked, ended)
        else:
            asked.future.set_exception(error)

    # What follows runs on the server's thread alone.

    def _run(self) -> None:
        ended: AffectoryError
        try:
            ended = self._serve()
            if not self._closing.is_set():
                self._servers.tell(f"{ended.what}\n{self._served.name}: starting it once more")
                ended = self._serve()
        except AffectoryError as error:
            ended = error
        except BaseException as error:
            self._end(ModelError(f"the server of {self._served.name} failed: {type(error).__name__}: {error}"))
            raise
        again = "Then run the same command again: what was answered is stored."
        self._end(type(ended)(ended.what, where=ended.where, next_step=f"{ended.next_step} {again}".strip()))

    def _serve(self) -> ModelError:
        """Start the server, give it what waits, and say how it ended."""
        server = self._servers.start(self._served, self._closing)
        try:
            chat = self._connect(server.settings)
            try:
                self._begin(server, chat)
                return server.wait()
            finally:
                with self._lock:
                    self._server = self._chat = None
                chat.close()  # what it holds comes back without an answer, and waits again
        finally:
            server.stop()

    def _begin(self, server: Server, chat: Chat) -> None:
        with self._lock:
            self._server, self._chat = server, chat
            waiting, self._waiting = self._waiting, []
            closed = self._ended is not None
        if closed:
            server.stop()
        for asked in waiting:
            self._ask(asked)

    def _end(self, error: AffectoryError) -> None:
        with self._lock:
            self._ended = self._ended or error
            left, self._waiting = self._waiting, []
        for asked in left:
            _refuse(asked, self._ended)


def _refuse(asked: _Asked, ended: AffectoryError | None) -> None:
    error = ended or closed_error()
    asked.future.set_exception(copy_error(error) if isinstance(error, ModelError) else error)
