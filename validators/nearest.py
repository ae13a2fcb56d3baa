# SPDX-License-Identifier: Apache-2.0
"""For each vector the nearest of those before it, exactly: what every search for duplicates here rests on.

Single-precision products only propose pairs, down to MARGIN below the threshold; each proposed pair is measured again
in double precision and compared after rounding to DECIMALS, so a different summation order in the BLAS changes nothing.
The products are of heads (validators/cosine_bounds.py), which bound the cosine; where the bound tells little, as among
rows that are all alike, of the vectors themselves.

The products are numpy's rather than faiss's. Both are one sgemm per tile followed by a scan, and equally fast on the
same BLAS kernel; but the OpenBLAS inside the faiss-cpu 1.15 wheel (0.3.15, of 2021) takes a Xeon of 2023 for a
processor of 2004 and runs at 31 instead of 136 GFLOPS on one thread. tests/benchmarks/bench_duplicates.py measures
both. BLAS threads are the caller's, as for all of numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validators.cosine_bounds import SAMPLE_ROWS, CosineBound, fit_bound
from validators.errors import ModelError

BLOCK_ROWS = 1024  # the fastest of 256 to 4096 at 30k rows of 384; larger blocks compare more rows inside themselves
TILE_ROWS = 2048  # rows per product: 1024 x 2048 float32 is 8 MiB, read again by the scan before it grows cold
PAIR_ROWS = 4096  # pairs measured at once in double precision: 2 x 12 MiB at 384 dimensions
BOUND_ROWS = 4096  # rows from which on looking for a bound takes less than it saves
MARGIN = 1e-3  # float32 dot products of unit vectors err by at most dimensions x 6e-8, so enough up to 16k dimensions
DECIMALS = 6

NEXT_STEP = "check the weights of the encoder that the recipe names, and that no text is empty"

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Positions, ascending, and what is compared of them first."""

    positions: Rows
    heads: Singles

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, chosen: slice | Rows) -> "Heads":
        # copied, or it would hold the whole of the arrays it was cut from
        return Heads(self.positions[chosen].copy(), self.heads[chosen].copy())

    def then(self, others: "Heads") -> "Heads":
        """Return these and `others`, whose positions come after."""
        return Heads(np.concatenate([self.positions, others.positions]), np.concatenate([self.heads, others.heads]))


class Nearest:
    """For each position in the order of ids: the nearest row before it found so far, or -1, and how near it is.

    `order` gives the row of `vectors` at each position, `lengths` how long it is. With `any_near` any row before it
    that reaches the threshold will do, so that a crowd of alike rows, each nearly the nearest, is not measured pair by
    pair.
    """

    def __init__(
        self,
        vectors: Singles,
        order: Rows,
        lengths: Floats,
        threshold: float,
        bound: CosineBound | None,
        *,
        any_near: bool = False,
    ) -> None:
        self.vectors = vectors
        self.order = order
        self.lengths = lengths
        self.threshold = round(threshold, DECIMALS)
        self.bound = bound
        self.any_near = any_near
        self.keepers: Rows = np.full(len(order), -1, dtype=np.int64)
        self.similarities: Floats = np.full(len(order), -np.inf)

    def heads(self, positions: Rows) -> Heads:
        """Return what is compared of these positions first."""
        unit = self._unit(positions)
        return Heads(positions, self.bound.heads(unit) if self.bound else unit.astype(np.float32))

    def compare(self, rows: Heads, others: Heads) -> None:
        """Look among `others` for the nearest that comes before each of `rows`."""
        floors = self._floors(rows.positions)
        found, columns = _reaching(rows.heads @ others.heads.T, floors)
        if len(found) > PAIR_ROWS:
            found, columns = self._among_many(rows, others, floors)
        earlier = others.positions[columns] < rows.positions[found]
        self.offer(rows.positions[found[earlier]], others.positions[columns[earlier]])

    def settle(self, positions: Rows) -> None:
        """Decide the rows of a block one after the other; only kept rows make pairs, so that equal rows make few."""
        block = self._unit(positions).astype(np.float32)
        # row i of `close`: the later rows for which i, should it be kept, may be the nearest
        close = np.triu(block @ block.T >= self._floors(positions), k=1)
        for row in np.flatnonzero(close.any(axis=1)).tolist():
            if self.keepers[positions[row]] < 0:
                later = positions[np.flatnonzero(close[row])]
                self.offer(later, np.full(len(later), positions[row], dtype=np.int64))

    def offer(self, rows: Rows, keepers: Rows) -> None:
        """Measure pairs of a row and one before it, and remember the nearest of each row, the first of equals."""
        for start in range(0, len(rows), PAIR_ROWS):
            self._offer_chunk(rows[start : start + PAIR_ROWS], keepers[start : start + PAIR_ROWS])

    def _among_many(self, rows: Heads, others: Heads, floors: Singles) -> tuple[Rows, Rows]:
        """Compare the vectors themselves, and leave only what may be the nearest of its row."""
        left, right = rows.heads, others.heads
        if self.bound:
            left = self._unit(rows.positions).astype(np.float32)
            right = self._unit(others.positions).astype(np.float32)
        products = left @ right.T
        products[others.positions[None, :] >= rows.positions[:, None]] = -np.inf
        best = products.argmax(axis=1)
        highest = products[np.arange(len(best)), best]
        floors = np.maximum(floors, highest - np.float32(2 * MARGIN))
        if not self.any_near:
            return _reaching(products, floors)
        certain = np.flatnonzero((highest >= np.float32(self.threshold + MARGIN)) & (floors < np.inf))
        floors[certain] = np.inf
        found, columns = _reaching(products, floors)
        return np.concatenate([certain, found]), np.concatenate([best[certain], columns])

    def _offer_chunk(self, rows: Rows, keepers: Rows) -> None:
        left = self.vectors[self.order[rows]].astype(np.float64)
        right = self.vectors[self.order[keepers]].astype(np.float64)
        # each row is summed by itself, unlike in a matrix product, so its value is the same in whatever company
        products = (left * right).sum(axis=1)
        near = np.round(products / (self.lengths[rows] * self.lengths[keepers]), DECIMALS)
        enough = near >= self.threshold
        rows, keepers, near = rows[enough], keepers[enough], near[enough]
        best = np.lexsort((keepers, -near, rows))
        best = best[np.diff(rows[best], prepend=-1) != 0]  # the first of each row
        rows, keepers, near = rows[best], keepers[best], near[best]
        known = self.similarities[rows]
        better = (near > known) | ((near == known) & (keepers < self.keepers[rows]))
        self.keepers[rows[better]] = keepers[better]
        self.similarities[rows[better]] = near[better]

    def _floors(self, positions: Rows) -> Singles:
        """Return the product below which another row cannot be the nearest of each of these."""
        known = self.similarities[positions]
        if self.any_near:
            known = np.where(known > -np.inf, np.inf, known)
        return (np.maximum(known, self.threshold) - MARGIN).astype(np.float32)

    def _unit(self, positions: Rows) -> Floats:
        unit: Floats = self.vectors[self.order[positions]].astype(np.float64) / self.lengths[positions, None]
        return unit


def bound_of(vectors: Singles, order: Rows, lengths: Floats, threshold: float) -> CosineBound | None:
    """Choose the bound for a search, by rows spread evenly over all; None where there are few or none saves work."""
    if len(order) < BOUND_ROWS:
        return None
    sample = np.unique(np.linspace(0, len(order) - 1, SAMPLE_ROWS).astype(np.int64))
    return fit_bound(vectors[order[sample]].astype(np.float64) / lengths[sample, None], threshold - MARGIN)


def lengths_of(ids: Sequence[str], vectors: Singles, order: Rows) -> Floats:
    """Return the Euclidean length of each vector in the order of ids, in double precision; refuse unusable vectors."""
    if vectors.ndim != 2 or vectors.shape[0] != len(ids) or not np.issubdtype(vectors.dtype, np.floating):
        raise ModelError(
            f"an array of shape {vectors.shape} and type {vectors.dtype} for {len(ids)} rows",
            where="near duplicates, where one vector of floats is needed for each row",
            next_step=NEXT_STEP,
        )
    lengths = np.empty(len(order))
    for start in range(0, len(order), BLOCK_ROWS):
        wide = vectors[order[start : start + BLOCK_ROWS]].astype(np.float64)
        lengths[start : start + BLOCK_ROWS] = np.sqrt((wide * wide).sum(axis=1))
    unusable = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(unusable):
        raise ModelError(
            f"{len(unusable)} of {len(order)} vectors are zero or not finite",
            where=f"near duplicates, first at row {ids[order[unusable[0]]]}",
            next_step=NEXT_STEP,
        )
    return lengths


def _reaching(products: Singles, floors: Singles) -> tuple[Rows, Rows]:
    """Return rows and columns of the products that reach the floor of their row."""
    # one flat scan: np.nonzero over two dimensions is several times slower on the few pairs that are found
    flat = np.flatnonzero(products >= floors[:, None])
    return flat // products.shape[1], flat % products.shape[1]
