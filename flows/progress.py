# SPDX-License-Identifier: Apache-2.0
"""What a person sees while a run works: bars on a terminal, a line now and then elsewhere."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

LINE_EVERY_S = 20.0  # in a log file; often enough to see that it lives


class Progress(Protocol):
    """Where stages tell how far they are."""

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """A stage with `total` rows begins, `done` of which lie on disk."""
        ...

    def advance(self, stage: str, *, kept: int, rejected: int, note: str = "") -> None:
        """Rows of a stage ended; `note` is a short remark such as the rate."""
        ...

    def tell(self, text: str) -> None:
        """Something that is no row happens, such as a server that starts."""
        ...


class SilentProgress:
    """For tests and `--json`."""

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Say nothing."""

    def advance(self, stage: str, *, kept: int, rejected: int, note: str = "") -> None:
        """Say nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""


@dataclass(slots=True)
class _Stage:
    task: TaskID
    total: int
    ended: int
    began_s: float
    kept: int = 0
    rejected: int = 0

    def left(self, now_s: float) -> str:
        """How much longer the stage takes at the rate so far, as a bar would show it; "" where nothing is left."""
        done = self.kept + self.rejected
        if not done or self.ended >= self.total:
            return ""
        minutes = (now_s - self.began_s) / done * (self.total - self.ended) / 60
        return f", {60 * done / max(now_s - self.began_s, 1e-9):.1f} a minute, {minutes:.0f} min left"


class ConsoleProgress:
    """Bars on a terminal; in a pipe or a log file a plain line every `LINE_EVERY_S` seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._lock = threading.Lock()
        self._stages: dict[str, _Stage] = {}
        self._last_line_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Show a bar, or a line."""
        with self._lock:
            task = self._bars.add_task(stage, total=total, completed=done, state="")
            self._stages[stage] = _Stage(task, total, done, time.monotonic())
            if self._bars.disable:
                self._console.print(f"{stage}: {total} to do" + (f", {done} already done" if done else ""))

    def advance(self, stage: str, *, kept: int, rejected: int, note: str = "") -> None:
        """Move the bar; a line when it is time for one, or at the end."""
        with self._lock:
            shown = self._stages[stage]
            shown.ended += kept + rejected
            shown.kept += kept
            shown.rejected += rejected
            state = f"kept {shown.kept}, rejected {shown.rejected}" + (f", {note}" if note else "")
            self._bars.update(shown.task, completed=shown.ended, state=state)
            now_s = time.monotonic()
            if self._bars.disable and (now_s - self._last_line_s >= LINE_EVERY_S or shown.ended >= shown.total):
                self._last_line_s = now_s
                self._console.print(f"{stage}: {shown.ended}/{shown.total}, {state}{shown.left(now_s)}")

    def tell(self, text: str) -> None:
        """A line of its own, above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)  # it may hold a path to copy
