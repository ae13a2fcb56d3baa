# SPDX-License-Identifier: Apache-2.0
"""Near duplicates of more rows than can all be compared: partitions on disk, searched one at a time.

`search_partition` is a function of files alone, so partitions can be searched in any order, by any number of processes,
on any machines that share the folder; what they find is joined by row and nearness, not by who came first.

A row is kept where no kept row before it is near, which a partition alone cannot know. So rows are decided in rounds:
where no undecided row before it is near, a row is kept; what is near to a row that was kept is dropped. Only the
nearest is asked for, never all pairs, so that a crowd of alike rows costs no more than others.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np

from flows.partition_files import Array, PartitionFolder, Spread, cut_on_disk, in_turn
from validators.duplicates import Duplicate, keep_first, near_duplicates
from validators.nearest import DECIMALS, Heads, Nearest, Rows, Singles
from validators.partitions import search

LAST_ROWS = 16_384  # rows left undecided that are compared with each other at once, in half a second
FROM_ROWS = 500_000  # 0.8 GB of MiniLM's vectors, and 5 minutes to look at all their pairs; see docs/scale.md
REACH = 1.0  # exact, whatever the partitions
MOST_VISITS = 0.2
"""Of all partitions, by a row on average. Both steps compare 4 x visits / partitions of what all pairs are, so that a
quarter breaks even, less what each partition costs. A million made-up rows visited 0.65 of 1,024."""
FOLDER = "neighbours"
UNDECIDED, NEWLY_KEPT, KEPT, DROPPED = range(4)
UNITS: Final = 10**DECIMALS  # similarities are whole numbers of these on disk
FOUND: Final = np.dtype([("row", np.uint32), ("keeper", np.uint32), ("similarity", np.uint32)])

Step = Literal["rivals", "keepers"]


@dataclass(frozen=True)
class PartitionedSearch:
    """Finds near duplicates in a folder of its own, which is removed afterwards."""

    path: Path
    from_rows: int = FROM_ROWS
    reach: float = REACH
    count: int | None = None
    """How many partitions; None leaves it to the number of rows."""
    most_visits: float = MOST_VISITS
    """Where rows visit a larger share of the partitions, which then hardly part them, all are compared with all."""
    spread: Spread = in_turn

    def room(self, n_rows: int, dimensions: int) -> Singles:
        """Make room for the vectors that are to be searched, in the order of their ids."""
        shutil.rmtree(self.path, ignore_errors=True)
        return PartitionFolder(self.path).new("vectors", (n_rows, dimensions), np.float32)

    def near_duplicates(self, ids: Sequence[str], *, similarity: float, settled: int = 0) -> list[Duplicate]:
        """Search the vectors that lie in the room; ids ascend, after those of `settled` rows, which stay.

        One entry per dropped row, ordered by row id.
        """
        folder = PartitionFolder(self.path)
        try:
            count = cut_on_disk(
                folder, ids, threshold=similarity, reach=self.reach, count=self.count, spread=self.spread
            )
            if len(folder.read("visitors")) > self.most_visits * count * len(ids):
                return near_duplicates(ids, folder.read("vectors"), similarity=similarity, settled=settled)
            decide(folder, count, self.spread, settled=settled)
            keepers, near = folder.read("keepers"), folder.read("similarities")
            dropped = np.flatnonzero(folder.read("states") == DROPPED)
            return [Duplicate(ids[row], ids[keepers[row]], int(near[row]) / UNITS, "near") for row in dropped]
        finally:
            shutil.rmtree(self.path, ignore_errors=True)


def decide(folder: PartitionFolder, count: int, spread: Spread, *, settled: int = 0) -> None:
    """Decide all rows but the settled ones in rounds: states, keepers and similarities (in millionths) by row."""
    n_rows = len(folder.read("vectors"))
    states = folder.new("states", (n_rows,), np.uint8)
    folder.new("keepers", (n_rows,), np.uint32)
    folder.new("similarities", (n_rows,), np.uint32)
    states[:settled] = NEWLY_KEPT
    if settled:
        _drop_near(folder, states, _searched(folder, "keepers", count, spread))
    while (undecided := np.flatnonzero(states == UNDECIDED)).size:
        beaten = np.zeros(n_rows, dtype=np.bool_)
        last = _compared_at_once(folder, undecided) if undecided.size <= LAST_ROWS else None
        for found in _searched(folder, "rivals", count, spread) if last is None else [last]:
            beaten[found["row"]] = True
        states[undecided[~beaten[undecided]]] = NEWLY_KEPT
        _drop_near(folder, states, [*([] if last is None else [last]), *_searched(folder, "keepers", count, spread)])


def search_partition(path: Path, step: Step, partition: int) -> None:
    """Search one partition: undecided rows for any undecided one before them, or all for the nearest newly kept one."""
    folder = PartitionFolder(path)
    starts, visits = folder.read("starts"), folder.read("visits")
    home = folder.read("order")[starts[partition] : starts[partition + 1]]
    guests = folder.read("visitors")[visits[partition] : visits[partition + 1]]
    rows = np.concatenate([home, guests]).astype(np.int64)
    states = folder.read("states")[rows]
    searched = (states == UNDECIDED) | (states == DROPPED) & (step == "keepers")
    wanted = states == (UNDECIDED if step == "rivals" else NEWLY_KEPT)
    chosen = np.flatnonzero(searched | wanted)
    chosen = chosen[np.argsort(rows[chosen])]
    rows, searched, wanted, own = rows[chosen], searched[chosen], wanted[chosen], chosen < len(home)
    found = np.empty(0, dtype=FOUND)
    if (searched.any() and (wanted & own).any()) or (wanted.any() and (searched & own).any()):
        nearest = _nearest(folder, rows, any_near=step == "rivals")
        places = np.arange(len(rows))
        heads = Heads(places, folder.read("heads")[rows]) if nearest.bound else nearest.heads(places)
        search(nearest, heads, own, rows=searched, others=wanted)
        found = _found(nearest)
    folder.save(f"{step}-{partition}", found)


def _searched(folder: PartitionFolder, step: Step, count: int, spread: Spread) -> Iterator[Array]:
    spread(partial(search_partition, folder.path, step), range(count))
    return (folder.take(f"{step}-{partition}") for partition in range(count))


def _compared_at_once(folder: PartitionFolder, rows: Rows) -> Array:
    """Find which of a few rows repeat an earlier one of them that stays."""
    nearest = _nearest(folder, rows)
    keep_first(nearest)
    return _found(nearest)


def _drop_near(folder: PartitionFolder, states: Array, keepers: Iterable[Array]) -> None:
    """Drop what is near to newly kept rows, which are new no more."""
    for found in keepers:
        _remember(folder, found)
    states[states == NEWLY_KEPT] = KEPT


def _remember(folder: PartitionFolder, found: Array) -> None:
    """Note the keepers that are nearer than those known, the first of equals, and drop the rows that have one now."""
    states, keepers, near = folder.read("states", "r+"), folder.read("keepers", "r+"), folder.read("similarities", "r+")
    rows = found["row"]
    known = near[rows]
    better = (found["similarity"] > known) | (found["similarity"] == known) & (found["keeper"] < keepers[rows])
    keepers[rows[better]] = found["keeper"][better]
    near[rows[better]] = found["similarity"][better]
    states[rows] = DROPPED


def _nearest(folder: PartitionFolder, rows: Rows, *, any_near: bool = False) -> Nearest:
    bound, threshold = folder.bound()
    lengths = folder.read("lengths")[rows]
    return Nearest(folder.read("vectors"), rows, lengths, threshold, bound, any_near=any_near)


def _found(nearest: Nearest) -> Array:
    beaten = np.flatnonzero(nearest.keepers >= 0)
    found = np.empty(len(beaten), dtype=FOUND)
    found["row"], found["keeper"] = nearest.order[beaten], nearest.order[nearest.keepers[beaten]]
    found["similarity"] = np.rint(nearest.similarities[beaten] * UNITS)
    return found
