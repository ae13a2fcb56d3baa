# SPDX-License-Identifier: Apache-2.0
"""Vectors cut into partitions, so that a search for near ones compares a row with few others.

Every row belongs to the centroid with which its product is largest, and visits other partitions to whose border it is
near. Border of two partitions is the plane between their centroids. Where two rows of angle t or less lie on both
sides of it, one of them is within t/2 of it and so visits the partition of the other: with `reach` 1 a visit is made
from within that angle, and no pair is missed, however good the centroids are. In 384 dimensions that is far, since the
rows of a near pair differ in all directions and hardly along any one; a smaller `reach` makes far fewer visits and
misses the few pairs that lie across a border and further from it on both sides. docs/scale.md has the figures.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validators.nearest import BLOCK_ROWS, MARGIN, TILE_ROWS, Floats, Heads, Nearest, Rows, Singles

SAMPLE_PER_CENTROID = 32  # rows from which k-means learns each; more moved no figure of docs/scale.md
LLOYD_ROUNDS = 10
ROUNDING = 1e-5  # of single-precision products of unit vectors, many times over

Chosen = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Partitions:
    """Centroids of length 1, their distances from one another, and the sine of the angle within which rows visit."""

    centroids: Singles
    distances: Singles
    sine: float

    def assign(self, unit: Floats) -> tuple[Rows, Rows, Rows]:
        """Give the partition of each of some unit vectors, and the visits, as their rows and the partitions visited."""
        products = unit.astype(np.float32) @ self.centroids.T
        own = products.argmax(axis=1)
        behind = products[np.arange(len(own)), own][:, None] - products
        near = behind <= self.distances[own] * np.float32(self.sine) + np.float32(ROUNDING)
        near[np.arange(len(own)), own] = False
        rows, visited = np.nonzero(near)
        return own.astype(np.int64), rows, visited


def count_partitions(n_rows: int) -> int:
    """Choose how many partitions to make: a power of two near the root, so that finding and searching cost alike."""
    return max(2, 1 << round(math.log2(max(n_rows, 1)) / 2))


def cut(sample: Floats, count: int, *, threshold: float, reach: float, seed: int) -> Partitions:
    """Find `count` centroids by k-means on unit vectors, for pairs whose cosine reaches the threshold."""
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # sums of several threads differ in their last bits, and with them the centroids
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal rows some centroids are equal, which is no harm
        found = KMeans(count, init="random", n_init=1, max_iter=LLOYD_ROUNDS, random_state=seed).fit(sample)
    centres = found.cluster_centers_.astype(np.float64)
    lengths = np.sqrt((centres * centres).sum(axis=1))
    centroids = centres / np.where(lengths > 0, lengths, 1)[:, None]
    squares = 2 - 2 * (centroids @ centroids.T)
    half_angle = np.arccos(max(-1.0, threshold - MARGIN)) / 2
    return Partitions(
        centroids.astype(np.float32),
        np.sqrt(np.maximum(squares, 0)).astype(np.float32),
        float(np.sin(min(1.0, reach) * half_angle)),
    )


def search(nearest: Nearest, heads: Heads, own: Chosen, *, rows: Chosen, others: Chosen) -> None:
    """Look for the nearest of `others` before each of `rows`, in a partition whose own rows are `own`, not visitors.

    Two visitors are not compared: where they are near, one of them is at home in a partition that the other visits.
    """
    for later, earlier in ((rows, others & own), (rows & own, others & ~own)):
        tiles = [heads[chosen] for chosen in _slices(earlier, TILE_ROWS)]
        for block in (heads[chosen] for chosen in _slices(later, BLOCK_ROWS)):
            for tile in tiles:
                if tile.positions[0] < block.positions[-1]:
                    nearest.compare(block, tile)


def _slices(chosen: Chosen, n_rows: int) -> list[Rows]:
    places = np.flatnonzero(chosen)
    return [places[start : start + n_rows] for start in range(0, len(places), n_rows)]
