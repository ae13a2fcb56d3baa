# SPDX-License-Identifier: Apache-2.0
"""Engines that share the cores of a machine take turns: many requests of one, then many of another.

Two engines that decode at once spin at each other's barriers. On two cores one engine of two threads makes 19
tokens/s alone and 8 beside another; one after the other both keep their rate. This is the room problem (group mutual
exclusion, Joung 2000): whoever is of the group inside may enter, others wait until it is empty.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 5.0
"""How long a group that others wait for may go on to enter: a change costs a batch that runs empty."""


class Room:
    """Lets in members of one group at a time."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._inside: object | None = None
        self._inside_since_s = 0.0
        self._count = 0
        self._waiting: Counter[object] = Counter()
        self._queue: deque[object] = deque()
        """Groups that wait, in the order in which the first of each came."""

    @contextmanager
    def of(self, group: object) -> Iterator[None]:
        """Be inside as a member of a group; waits until it may enter."""
        self._enter(group)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, group: object) -> None:
        with self._changed:
            self._waiting[group] += 1
            if self._waiting[group] == 1:
                self._queue.append(group)
            while not self._may_enter(group):
                self._changed.wait(timeout=self._patience_s)
            self._waiting[group] -= 1
            if not self._waiting[group]:
                self._queue.remove(group)
            if not self._count:
                self._inside, self._inside_since_s = group, time.monotonic()
            self._count += 1

    def _leave(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def _may_enter(self, group: object) -> bool:
        if not self._count:
            return self._queue[0] is group
        others = any(one is not group for one in self._queue)
        return self._inside is group and not (others and time.monotonic() - self._inside_since_s > self._patience_s)


CORES = Room()
"""The cores of this machine, for all engines of this process."""
