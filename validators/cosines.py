# SPDX-License-Identifier: Apache-2.0
"""How near texts are to each other, by the cosines of their embeddings: inside groups and between them.

Means over pairs come from sums of vectors, so they cost one pass. The nearest neighbours are searched exactly, tile by
tile: memory is one tile, never rows x rows.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validators.errors import ModelError
from validators.roles import Encoder

BLOCK_ROWS = 1024
TILE_ROWS = 2048  # 1024 x 2048 float32 is 8 MiB, as in duplicates.py
ENCODE_ROWS = 1024
UNIT_TOLERANCE = 1e-3  # half precision, which some encoders run in, errs by about that
DECIMALS = 6  # beyond, the order of summation shows

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cosines:
    """Mean cosine over unordered pairs, and mean over rows of the cosine with the nearest other row of a pair."""

    pairs: int
    mean: float | None
    nearest: float | None


def within(vectors: Vectors, groups: Sequence[Hashable]) -> Cosines:
    """Cosines of rows of the same group, pooled over all groups; rows alone in their group make no pair.

    `vectors` has shape (rows, dimensions), each row of length 1, and `groups` one key for each row.
    """
    total, ordered_pairs = 0.0, 0
    nearest = []
    for rows in _members(groups):
        if len(rows) > 1:
            block = vectors[rows]
            total += _sum_of_products(block) - float(np.square(block, dtype=np.float64).sum())
            ordered_pairs += len(rows) * (len(rows) - 1)
            nearest.append(_nearest(block, block, same=True))
    return _cosines(total, ordered_pairs, nearest)


def across(vectors: Vectors, groups: Sequence[Hashable]) -> Cosines:
    """Cosines of rows of different groups; arrays as in `within`."""
    members = _members(groups)
    if len(members) < 2:
        return Cosines(0, None, None)
    ordered = vectors[np.concatenate(members)]  # so that the other groups are two slices
    total, ordered_pairs = _sum_of_products(ordered), len(ordered) ** 2
    nearest = []
    stop = 0
    for rows in members:
        start, stop = stop, stop + len(rows)
        block = ordered[start:stop]
        total -= _sum_of_products(block)
        ordered_pairs -= len(rows) ** 2
        before, after = (_nearest(block, others, same=False) for others in (ordered[:start], ordered[stop:]))
        nearest.append(np.maximum(before, after))
    return _cosines(total, ordered_pairs, nearest)


def encode(texts: Sequence[str], encoder: Encoder) -> Vectors:
    """Embed texts as unit rows; equal texts are encoded once, and in an order of their own."""
    different = sorted(set(texts))
    if not different:
        return np.empty((0, 0), dtype=np.float32)
    blocks = [encoder.encode(different[n : n + ENCODE_ROWS]) for n in range(0, len(different), ENCODE_ROWS)]
    vectors = np.concatenate(blocks)
    check_unit_rows(vectors, len(different), source=encoder.model)
    position = {text: number for number, text in enumerate(different)}
    return vectors[[position[text] for text in texts]]


def check_unit_rows(vectors: Vectors, rows: int, *, source: str) -> None:
    """Refuse anything but one float vector of length 1 for each row, with a ModelError that names `source`."""
    fits = vectors.ndim == 2 and len(vectors) == rows and np.issubdtype(vectors.dtype, np.floating)
    what = f"an array of shape {vectors.shape} and type {vectors.dtype} for {rows} texts"
    if fits:
        lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # NaN compares false
        fits = not len(wrong)
        what = f"{len(wrong)} of {rows} vectors are not finite or not of length 1"
    if not fits:
        raise ModelError(what, where=source, next_step="use an encoder that scales its vectors to length 1")


def _members(groups: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return [np.array(rows, dtype=np.int64) for rows in members.values()]


def _sum_of_products(block: Vectors) -> float:
    """Sum over all ordered pairs of rows, each with itself too: the squared length of the sum of rows."""
    return float(np.square(block.sum(axis=0, dtype=np.float64)).sum())


def _nearest(left: Vectors, right: Vectors, *, same: bool) -> Vectors:
    """The highest product of each left row with a right one; where they are the `same`, with another than itself."""
    best = np.full(len(left), -np.inf, dtype=np.float32)
    for start in range(0, len(left), BLOCK_ROWS):
        block = left[start : start + BLOCK_ROWS]
        for first in range(0, len(right), TILE_ROWS):
            products = block @ right[first : first + TILE_ROWS].T
            if same:
                own = np.arange(max(start, first), min(start + products.shape[0], first + products.shape[1]))
                products[own - start, own - first] = -np.inf
            best[start : start + BLOCK_ROWS] = np.maximum(best[start : start + BLOCK_ROWS], products.max(axis=1))
    return best


def _cosines(total: float, ordered_pairs: int, nearest: Sequence[Vectors]) -> Cosines:
    if not ordered_pairs:
        return Cosines(0, None, None)
    means = (total / ordered_pairs, float(np.concatenate(nearest).mean(dtype=np.float64)))
    mean, near = (round(min(max(value, -1.0), 1.0), DECIMALS) for value in means)
    return Cosines(ordered_pairs // 2, mean, near)
