# SPDX-License-Identifier: Apache-2.0
"""Which test texts occur among the training texts, exactly or nearly: whoever trains on them has seen the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from validators.cosines import BLOCK_ROWS, TILE_ROWS, Vectors, encode
from validators.duplicates import normalise
from validators.nearest import DECIMALS
from validators.roles import Encoder

SIMILARITY = 0.9
"""Cosine from which on two texts count as the same: the threshold of near duplicates inside a release."""


@dataclass(frozen=True, slots=True)
class Contamination:
    """A test text, the training text that it repeats most closely, and their cosine (1 for exact copies).

    Ids only, since reports are published and texts may not be.
    """

    test_id: str
    train_id: str
    similarity: float
    kind: Literal["exact", "near"]


def find_contamination(
    train_ids: Sequence[str],
    train_texts: Sequence[str],
    test_ids: Sequence[str],
    test_texts: Sequence[str],
    encoder: Encoder,
    *,
    similarity: float = SIMILARITY,
) -> list[Contamination]:
    """List the test texts that repeat a training text.

    Exactly: equal but for case, space and punctuation. Nearly: a cosine of `similarity` or more. One entry a test text,
    in the order of the test texts: the first exact copy, else the nearest (the first of equals). All pairs are
    compared, tile by tile.
    """
    if not train_texts or not test_texts:
        return []
    exact: dict[str, int] = {}
    for row, text in enumerate(train_texts):
        exact.setdefault(normalise(text), row)
    best, nearest = _nearest(encode(test_texts, encoder), encode(train_texts, encoder))
    found = []
    for row, text in enumerate(test_texts):
        copy = exact.get(normalise(text))
        near = round(float(best[row]), DECIMALS)
        if copy is not None:
            found.append(Contamination(test_ids[row], train_ids[copy], 1.0, "exact"))
        elif near >= similarity:
            found.append(Contamination(test_ids[row], train_ids[int(nearest[row])], near, "near"))
    return found


def _nearest(left: Vectors, right: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
    """The highest product of each left row with a right one, and the position of that one."""
    best = np.full(len(left), -np.inf, dtype=np.float32)
    position = np.zeros(len(left), dtype=np.int64)
    for start in range(0, len(left), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        for first in range(0, len(right), TILE_ROWS):
            products = left[block] @ right[first : first + TILE_ROWS].T
            column = products.argmax(axis=1)
            value = products[np.arange(len(products)), column]
            higher = value > best[block]
            position[block] = np.where(higher, column + first, position[block])
            best[block] = np.where(higher, value, best[block])
    return best, position
