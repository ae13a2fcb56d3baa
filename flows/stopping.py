# SPDX-License-Identifier: Apache-2.0
"""How a run that stops tells all who work for it, in this process and in others."""

import threading
import time
from pathlib import Path
from typing import Final, Protocol

from flows.atomic import storage_errors, write_bytes
from flows.mirror import Mirror

LOOK_EVERY_S: Final = 1.0  # a look costs a call to a network file system; a row takes seconds


class Stopping(Protocol):
    """A flag that is raised once, as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether the run stops."""
        ...

    def set(self) -> None:
        """Stop the run."""
        ...


class StopFile:
    """A flag that lies in the run's folder, where workers of other processes and machines see it."""

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        self._path, self._mirror = path, mirror
        self._event = threading.Event()
        self._looked_s = 0.0

    def is_set(self) -> bool:
        """Whether the run stops; the folder is looked into once a second."""
        now_s = time.monotonic()
        if not self._event.is_set() and now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            if self._mirror.has(self._path) if self._mirror else self._path.exists():
                self._event.set()
        return self._event.is_set()

    def set(self) -> None:
        """Stop the run, here and wherever its folder is seen."""
        if not self._event.is_set():
            self._event.set()
            write_bytes(self._path, b"")
            if self._mirror:
                self._mirror.push(self._path)

    def clear(self) -> None:
        """Take the flag of an earlier command away."""
        with storage_errors(self._path):
            self._path.unlink(missing_ok=True)
        if self._mirror:
            self._mirror.remove(self._path)
