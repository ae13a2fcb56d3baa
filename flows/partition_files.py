# SPDX-License-Identifier: Apache-2.0
"""Vectors cut into partitions on disk, for a search that holds one partition at a time in memory.

    vectors.npy lengths.npy heads.npy   by row, which is the order of ids
    cut.npz                             centroids, the bound that heads are made by, the threshold
    order.npy starts.npy                rows by partition, and where each partition starts
    visitors.npy visits.npy             rows that visit each partition, and where they start

A task assigns some rows to partitions; it is a function of these files alone, and what it writes is joined by number.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flows.atomic import storage_errors
from validators.cosine_bounds import CosineBound
from validators.nearest import Floats, Rows, Singles, bound_of, lengths_of
from validators.partitions import SAMPLE_PER_CENTROID, Partitions, count_partitions, cut

BLOCK_ROWS = 1024  # rows assigned at once: with 8,192 partitions their products are 32 MiB
TASK_ROWS = 65_536  # rows that one task assigns
SEED = 7  # of k-means; any will do

Array = NDArray[Any]
Spread = Callable[[Callable[[int], None], Sequence[int]], None]
"""Calls a function with each of some numbers, in any order and anywhere; returns when all are done."""


def in_turn(work: Callable[[int], None], numbers: Sequence[int]) -> None:
    """Do one after the other in this process."""
    for number in numbers:
        work(number)


@contextmanager
def in_processes(workers: int) -> Iterator[Spread]:
    """Spread over processes of this machine, each with the BLAS threads that its environment gives it."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def spread(work: Callable[[int], None], numbers: Sequence[int]) -> None:
            for _ in pool.map(work, numbers, chunksize=max(1, len(numbers) // (8 * workers))):
                pass

        yield spread


@dataclass(frozen=True)
class PartitionFolder:
    """The folder of one search; the arrays in it are mapped into memory, not read."""

    path: Path

    def new(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        """Make an array of zeros, with its room on the disk taken now: a full disk would kill whoever writes later."""
        file = self.path / f"{name}.npy"
        with storage_errors(file):
            self.path.mkdir(parents=True, exist_ok=True)
            array: Array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)  # type: ignore[no-untyped-call]
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, max(1, file.stat().st_size))
        return array

    def read(self, name: str, mode: Literal["r", "r+"] = "r") -> Array:
        """Map an array; `r+` to write to it."""
        with storage_errors(self.path / f"{name}.npy"):
            array: Array = np.load(self.path / f"{name}.npy", mmap_mode=mode)
        return array

    def save(self, name: str, array: Array) -> None:
        """Write a whole array."""
        with storage_errors(self.path / f"{name}.npy"):
            np.save(self.path / f"{name}.npy", array)

    def take(self, name: str) -> Array:
        """Read a whole array and remove its file."""
        file = self.path / f"{name}.npy"
        with storage_errors(file):
            array: Array = np.load(file)
            file.unlink()
        return array

    def partitions(self) -> Partitions:
        """Read the centroids."""
        with storage_errors(self.path / "cut.npz"), np.load(self.path / "cut.npz") as stored:
            return Partitions(stored["centroids"], stored["distances"], float(stored["sine"]))

    def bound(self) -> tuple[CosineBound | None, float]:
        """Read the bound, if there is one, and the threshold."""
        with storage_errors(self.path / "cut.npz"), np.load(self.path / "cut.npz") as stored:
            directions = stored["directions"]
            return CosineBound(directions) if directions.size else None, float(stored["threshold"])


def cut_on_disk(
    folder: PartitionFolder, ids: Sequence[str], *, threshold: float, reach: float, count: int | None, spread: Spread
) -> int:
    """Cut the vectors of a folder into partitions, and return how many; ModelError for vectors that are unusable."""
    vectors = folder.read("vectors")
    n_rows = len(vectors)
    every = np.arange(n_rows)
    lengths = lengths_of(ids, vectors, every)
    folder.save("lengths", lengths)
    count = min(count or count_partitions(n_rows), n_rows)
    sample = np.unique(np.linspace(0, n_rows - 1, SAMPLE_PER_CENTROID * count).astype(np.int64))
    partitions = cut(_unit(vectors, lengths, sample), count, threshold=threshold, reach=reach, seed=SEED)
    bound = bound_of(vectors, every, lengths, threshold)
    size = bound.directions.shape[1] + 1 if bound else 0
    folder.new("heads", (n_rows, size), np.float32)
    with storage_errors(folder.path / "cut.npz"):
        np.savez(
            folder.path / "cut.npz",
            centroids=partitions.centroids,
            distances=partitions.distances,
            sine=partitions.sine,
            directions=bound.directions if bound else np.empty(0),
            threshold=threshold,
        )
    tasks = range(-(-n_rows // TASK_ROWS))
    spread(partial(assign_rows, folder.path), tasks)
    _group(folder, "order", "starts", [(f"rows-{task}", f"own-{task}") for task in tasks], count)
    _group(folder, "visitors", "visits", [(f"visitors-{task}", f"visited-{task}") for task in tasks], count)
    return count


def assign_rows(path: Path, task: int) -> None:
    """Find the partition, the visits and the heads of the rows of one task, and write them."""
    folder = PartitionFolder(path)
    vectors, lengths, heads = folder.read("vectors"), folder.read("lengths"), folder.read("heads", "r+")
    partitions, (bound, _) = folder.partitions(), folder.bound()
    rows = np.arange(task * TASK_ROWS, min((task + 1) * TASK_ROWS, len(vectors)))
    own, visitors, visited = [], [], []
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        unit = _unit(vectors, lengths, block)
        if bound:
            heads[block] = bound.heads(unit)
        homes, guests, hosts = partitions.assign(unit)
        own.append(homes)
        visitors.append(block[guests])
        visited.append(hosts)
    for name, parts in (("rows", [rows]), ("own", own), ("visitors", visitors), ("visited", visited)):
        folder.save(f"{name}-{task}", np.concatenate(parts).astype(np.uint32))


def _unit(vectors: Singles, lengths: Floats, rows: Rows) -> Floats:
    unit: Floats = vectors[rows].astype(np.float64) / lengths[rows, None]
    return unit


def _group(folder: PartitionFolder, members: str, starts: str, parts: Sequence[tuple[str, str]], count: int) -> None:
    """Group the rows that tasks wrote by partition, in their order, as a counting sort that holds one task's rows."""
    sizes = sum((np.bincount(folder.read(at), minlength=count) for _, at in parts), np.zeros(count, dtype=np.int64))
    begins = np.concatenate([[0], np.cumsum(sizes)])
    folder.save(starts, begins)
    grouped = folder.new(members, (int(begins[-1]),), np.uint32)
    free = begins[:-1].copy()
    for rows_name, at_name in parts:
        rows, at = folder.take(rows_name), folder.take(at_name).astype(np.int64)
        by_partition = np.argsort(at, kind="stable")
        here = np.bincount(at, minlength=count)
        rank = np.arange(len(at)) - np.repeat(np.cumsum(here) - here, here)
        grouped[free[at[by_partition]] + rank] = rows[by_partition]
        free += here
