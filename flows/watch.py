# SPDX-License-Identifier: Apache-2.0
"""What a run shows of itself while it works: a line of its log for every shard, and a table for every stage.

Counts and reasons alone: no text of a row, no path of a model, no key.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from flows.done_records import DoneRecord
from flows.run_log import EVENTS

SHOW_EVERY_S = 1.0  # a table a second is more than anybody reads; scripted shards end faster

Row = Mapping[str, str | int]


class Board(Protocol):
    """Where the tables of a run are hung up, such as Prefect's interface."""

    def show(self, name: str, title: str, rows: Sequence[Row]) -> None:
        """Show a table, in the place of the one of that name."""
        ...


class Watch:
    """Adds up the shards of each stage and shows how far it came."""

    def __init__(self) -> None:
        self.board: Board | None = None
        self._lock = threading.Lock()
        self._stages: dict[str, Counter[str]] = {}
        self._shown_s: dict[str, float] = {}

    def shard(self, record: DoneRecord) -> None:
        """Tell of a shard that is done, now or by an earlier command."""
        EVENTS.info(
            "shard done",
            extra={
                "stage": record.stage,
                "shard": record.index,
                "planned": record.planned,
                "kept": record.kept,
                "rejected": record.rejected,
                "reasons": record.reasons,
            },
        )
        with self._lock:
            counts = self._stages.setdefault(record.stage, Counter())
            counts.update({"shards": 1, "planned": record.planned, "kept": record.kept})
            counts.update({f"rejected: {reason}": count for reason, count in record.reasons.items()})
            now_s = time.monotonic()
            if now_s - self._shown_s.get(record.stage, float("-inf")) < SHOW_EVERY_S:
                return
            self._shown_s[record.stage] = now_s
        self.show(record.stage)

    def show(self, stage: str) -> None:
        """Hang up the table of a stage as it stands."""
        with self._lock:
            counts = Counter(self._stages.get(stage, Counter()))
        if self.board is not None and counts:
            self.board.show(stage, f"Rows of the stage {stage}, and why they were rejected", table_of(counts))


def table_of(counts: Counter[str]) -> list[Row]:
    """The counts of a stage as rows to read: planned and kept, then the reasons, the commonest first."""
    planned = counts["planned"]
    first = ("shards", "planned", "kept")
    reasons = sorted((name for name in counts if name not in first), key=lambda name: (-counts[name], name))
    return [
        {"what": name, "rows": counts[name], "share": "" if name == "shards" else _share(counts[name], planned)}
        for name in (*first, *reasons)
    ]


def _share(count: int, planned: int) -> str:
    return f"{count / planned:.1%}" if planned else ""
