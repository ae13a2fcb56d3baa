# SPDX-License-Identifier: Apache-2.0
"""A Chat whose engine, or server, starts when it is first asked."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module

from generators.backends.registry import CHAT, open_chat
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings


class LateChat:
    """A Chat that opens its engine at the first request, so that a finished run starts none."""

    def __init__(self, backend: str, settings: ChatSettings, serve: Callable[[], Chat] | None = None) -> None:
        self._backend = backend
        self._settings = settings
        self._serve = serve  # opens the Chat of a server that the run starts
        self._lock = threading.Lock()
        self._chat: Chat | None = None

    @property
    def model(self) -> str:
        """Name and revision, known without the engine."""
        revision = self._settings.revision
        return f"{self._settings.name}@{revision}" if revision else self._settings.name

    @property
    def slots(self) -> int:
        """How many requests in flight keep the engine full."""
        return self._settings.slots

    def open(self) -> Chat:
        """Open the engine if it is not open; load errors come up here."""
        with self._lock:
            if self._chat is None and self._serve is not None:
                self._chat = self._serve()
            elif self._chat is None:
                # only now: such a variable may keep Hub clients offline, and the stories come from there
                for name, value in _environment(self._backend).items():
                    os.environ.setdefault(name, value)
                self._chat = open_chat(self._backend, self._settings)
            return self._chat

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Queue a request."""
        return self.open().submit(request)

    def close(self) -> None:
        """Close the engine if it was opened."""
        with self._lock:
            if self._chat is not None:
                self._chat.close()
                self._chat = None


def _environment(backend: str) -> dict[str, str]:
    """What a backend wants to find in the environment before its engine is imported."""
    module = import_module(CHAT[backend].target.partition(":")[0])
    return dict(getattr(module, "ENVIRONMENT", {}))
