# SPDX-License-Identifier: Apache-2.0
"""How many shards of a stage are at work at a time, so that the engine stays full while the last rows of each finish.

Rows take unequal times, so a shard soon has few rows in flight and waits for its slowest. In a simulation of rows of 1
to 6 requests with lognormal latencies (sigma 0.6), two shards of 50 rows kept 16 % of 256 slots busy, as many shards as
hold the slots' rows and one more 55 %, twice as many 89 %, three times as many all of them; with 1 to 12 requests and
sigma 1, three times as many kept 96 %. `python -m tests.benchmarks.bench_shards` repeats it with our own parts.
"""

import threading
from collections.abc import Callable

from flows.recipe import Recipe
from generators.conversations import FEW_SLOTS

TIMES_THE_SLOTS = 3
LEAST = 2
MOST = 128  # threads


def at_once(slots: int, shard_rows: int) -> int:
    """Reckon how many shards of so many rows keep so many slots full."""
    if slots <= FEW_SLOTS:  # their small shards end by the minute
        return LEAST
    return min(MOST, max(LEAST, -(-TIMES_THE_SLOTS * slots // shard_rows) + 1))


def at_once_by_stage(recipe: Recipe, slots: int) -> dict[str, int]:
    """Reckon it for the stages of a recipe whose writers have so many slots together; `LEAST` for all others."""
    rows = {"evidence": recipe.shard_rows, "utterances": recipe.shard_rows}
    if recipe.dialogues:
        rows["dialogues"] = recipe.dialogues.shard_rows
    found = {stage: at_once(slots, shard_rows) for stage, shard_rows in rows.items()}
    if recipe.speech:
        found["speech"] = at_once(recipe.speech.workers, recipe.speech.shard_rows)
    return found


class Budgeted:
    """Asks before each shard whether the budget of its stage is spent; what is not begun then is not planned.

    Shards ask at the same time. No shard is refused after one with a higher number was begun, since those that were
    begun must be a beginning of the round.
    """

    def __init__(self, spent: Callable[[], str]) -> None:
        self.reason = ""
        self._spent = spent
        self._last = -1
        self._lock = threading.Lock()

    def refuses(self, index: int) -> bool:
        """Whether a shard must not begin; `reason` then says which budget is spent."""
        with self._lock:
            if index < self._last:
                return False
            self.reason = self.reason or self._spent()
            if not self.reason:
                self._last = index
            return bool(self.reason)
