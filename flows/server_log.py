# SPDX-License-Identifier: Apache-2.0
"""What a server says, kept in the work folder of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from flows.atomic import storage_errors

LAST_LINES = 12  # of an error message; a traceback's end and what came before it
TAIL_BYTES = 16_384


class ServerLog:
    """What a server says, kept in a file to which every start adds; `tail` is of the last start alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def begin(self, words: Sequence[str]) -> None:
        """Note a start and its command, which holds no secret."""
        with storage_errors(self.path), self.path.open("ab") as file:
            file.write(f"--- {' '.join(words)}\n".encode())
            self._begin = file.tell()

    def open(self) -> IO[bytes]:
        """Open it for a process to write to."""
        with storage_errors(self.path):
            return self.path.open("ab")

    def tail(self) -> str:
        """The end of what the last start has said."""
        with storage_errors(self.path), self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._begin, end - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def last_lines(self) -> list[str]:
        """The last lines that say something, printable and cut."""
        lines = ["".join(c for c in line if c.isprintable()).rstrip() for line in self.tail().splitlines()]
        return [line[:200] for line in lines if line][-LAST_LINES:]

    def last_line(self) -> str:
        """The last of them, short enough for a line of progress."""
        return (self.last_lines() or ["nothing yet"])[-1][:160]
