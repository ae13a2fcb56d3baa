# SPDX-License-Identifier: Apache-2.0
"""Which sequence of an engine is to answer a prompt: the one whose cache has most of it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

NOTICEABLE = 32  # characters in common that make a difference; fewer are chance


class PromptCaches:
    """The engine's idle sequences, and the prompt that each of them still has in its cache, the longest idle first.

    With some more of them than requests in flight, writing and reading, taking turns, each find what all their
    prompts begin with. Of those that begin equally like a prompt the longest idle is taken: the engine's own choice
    takes any, and so gives away the one to which a repair comes back in a moment.
    """

    def __init__(self, number: int) -> None:
        self._idle = [(sequence, "") for sequence in range(number)]
        self._lock = threading.Lock()

    @contextmanager
    def take(self, prompt: str) -> Iterator[int]:
        """Hold the one whose last prompt begins most like this one; no more may be held than there are."""
        with self._lock:
            alike = [_same(last, prompt) // NOTICEABLE for _, last in self._idle]
            sequence, _ = self._idle.pop(alike.index(max(alike)))
        try:
            yield sequence
        finally:
            with self._lock:
                self._idle.append((sequence, prompt))


def _same(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
