# SPDX-License-Identifier: Apache-2.0
"""Exact and near duplicates of a whole dataset; every dropped row names the kept row it repeats.

The search is exact. An approximate index (HNSW in usearch, semhash, faiss) misses a few neighbours, so pairs above the
threshold stay in the dataset, and which ones depends on the order in which rows were inserted. Here the outcome is a
function of the set of (id, text or vector) alone: rows are decided greedily in the order of their ids, whatever order
they come in, however they are cut into blocks, on however many threads.

Single-precision products only propose pairs, down to MARGIN below the threshold; each proposed pair is measured again
in double precision and compared after rounding to DECIMALS, so a different summation order in the BLAS changes nothing.
A block of rows meets the kept rows before it, tile by tile, and then itself: memory is a copy of the kept vectors and
one tile, never rows x rows, also where all rows are alike.

The products are numpy's rather than faiss's. Both are one sgemm per tile followed by a scan, and equally fast on the
same BLAS kernel; but the OpenBLAS inside the faiss-cpu 1.15 wheel (0.3.15, of 2021) takes a Xeon of 2023 for a
processor of 2004 and runs at 31 instead of 136 GFLOPS on one thread. tests/benchmarks/bench_duplicates.py measures
both. BLAS threads are the caller's, as for all of numpy.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from validators.errors import ModelError
from validators.roles import Encoder

BLOCK_ROWS = 1024  # the fastest of 256 to 4096 at 30k rows of 384; larger blocks compare more rows inside themselves
TILE_ROWS = 2048  # kept rows per product: 1024 x 2048 float32 is 8 MiB, read again by the scan before it grows cold
PAIR_ROWS = 4096  # pairs measured at once in double precision: 2 x 12 MiB at 384 dimensions
ENCODE_ROWS = 1024  # fixed, so that the encoder sees the same batches whatever the block size
MARGIN = 1e-3  # float32 dot products of unit vectors err by at most dimensions x 6e-8, so enough up to 16k dimensions
DECIMALS = 6

_NEXT_STEP = "check the weights of the encoder that the recipe names, and that no text is empty"

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row to drop, the kept row it repeats, and their cosine similarity rounded to six decimals."""

    row_id: str
    kept_id: str
    similarity: float
    kind: Literal["exact", "near"]


def find_duplicates(
    ids: Sequence[str], texts: Sequence[str], encoder: Encoder, *, similarity: float, block_rows: int = BLOCK_ROWS
) -> list[Duplicate]:
    """Find the rows to drop so that no two kept rows have equal normalised texts or a cosine of `similarity` or more.

    Texts that differ in case, white space or punctuation alone share one vector: that of the first of them by id, the
    only one that is encoded and can be kept. Where that one is dropped as a near duplicate, its copies follow it.
    Returns one entry per dropped row, ordered by row id.
    """
    if len(texts) != len(ids):
        raise ValueError(f"{len(texts)} texts for {len(ids)} ids")
    _check_arguments(ids, similarity, block_rows)
    copies: dict[str, list[int]] = {}
    for row in _canonical_order(ids).tolist():
        copies.setdefault(normalise(texts[row]), []).append(row)
    if not copies:
        return []
    firsts = [rows[0] for rows in copies.values()]
    vectors = _encode([ids[row] for row in firsts], [texts[row] for row in firsts], encoder)
    near = near_duplicates([ids[row] for row in firsts], vectors, similarity=similarity, block_rows=block_rows)
    dropped = {duplicate.row_id: duplicate for duplicate in near}
    found = list(near)
    for first, *others in copies.values():
        follows = dropped.get(ids[first])
        for row in others:
            if follows is None:
                found.append(Duplicate(ids[row], ids[first], 1.0, "exact"))
            else:
                found.append(Duplicate(ids[row], follows.kept_id, follows.similarity, "near"))
    return sorted(found, key=lambda duplicate: duplicate.row_id)


def near_duplicates(
    ids: Sequence[str], vectors: NDArray[np.float32], *, similarity: float, block_rows: int = BLOCK_ROWS
) -> list[Duplicate]:
    """Find the rows to drop so that no two kept rows have a cosine of `similarity` or more.

    `vectors` has shape (rows, dimensions), of any length but zero. In the order of ids, a row is dropped if a row kept
    before it is that near, and names the nearest of those, the first by id among equals. Returns one entry per dropped
    row, ordered by row id.
    """
    _check_arguments(ids, similarity, block_rows)
    if not len(ids):
        return []
    order = _canonical_order(ids)
    nearest = _Nearest(vectors, order, _lengths(ids, vectors, order, block_rows), similarity)
    kept: list[tuple[Rows, NDArray[np.float32]]] = []  # tiles of positions and their unit vectors
    for start in range(0, len(order), block_rows):
        block = nearest.unit_vectors(start, start + block_rows)
        for positions, tile in kept:
            rows, columns = _pairs(block, tile, nearest.floors(start, start + block_rows))
            nearest.offer(rows + start, positions[columns])
        _settle_block(block, start, nearest)
        survivors = np.flatnonzero(nearest.keepers[start : start + len(block)] < 0)
        _append_tiles(kept, survivors + start, block[survivors])
    return [
        Duplicate(ids[order[row]], ids[order[nearest.keepers[row]]], float(nearest.similarities[row]), "near")
        for row in np.flatnonzero(nearest.keepers >= 0)
    ]


def normalise(text: str) -> str:
    """Reduce a text to what makes it an exact copy: NFC, case-folded, punctuation and white space as single spaces.

    Symbols stay, since an emoji is often all that tells two short lines apart; so do the marks of Indic scripts. A text
    of punctuation alone keeps it.
    """
    folded = unicodedata.normalize("NFC", text).casefold()
    # composed last, since a format character that goes may have stood between a letter and its mark
    spaced = unicodedata.normalize("NFC", folded.translate(_SPACED))
    return " ".join(spaced.split()) or " ".join(unicodedata.normalize("NFC", folded).split())


class _Spaced(dict[int, int | None]):
    """Translation table that learns each character once: separators to a space, invisible format characters away."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        if category == "Cf":
            self[code] = None
        elif category == "Cc" or category[0] in "PZ":
            self[code] = ord(" ")
        else:
            self[code] = code
        return self[code]


_SPACED = _Spaced()


class _Nearest:
    """For each position in the order of ids: the nearest kept row found so far, or -1, and how near it is."""

    def __init__(self, vectors: NDArray[np.float32], order: Rows, lengths: Floats, threshold: float) -> None:
        self.vectors = vectors
        self.order = order
        self.lengths = lengths
        self.threshold = round(threshold, DECIMALS)
        self.keepers: Rows = np.full(len(order), -1, dtype=np.int64)
        self.similarities: Floats = np.full(len(order), -np.inf)

    def unit_vectors(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the vectors at positions start to stop, each scaled to length 1."""
        block = self.vectors[self.order[start:stop]].astype(np.float64)
        return (block / self.lengths[start:stop, None]).astype(np.float32)

    def floors(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return, for positions start to stop, the product below which a kept row cannot be the nearest."""
        return (np.maximum(self.similarities[start:stop], self.threshold) - MARGIN).astype(np.float32)

    def offer(self, rows: Rows, keepers: Rows) -> None:
        """Measure pairs of a row and a kept row before it, and remember the nearest keeper of each row."""
        for start in range(0, len(rows), PAIR_ROWS):
            self._offer_chunk(rows[start : start + PAIR_ROWS], keepers[start : start + PAIR_ROWS])

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


def _settle_block(block: NDArray[np.float32], start: int, nearest: _Nearest) -> None:
    """Decide the rows of a block one after the other; only rows that are kept make pairs, so equal rows make few."""
    # row i of `close`: the later rows for which i, should it be kept, may be the nearest
    close = np.triu(block @ block.T >= nearest.floors(start, start + len(block)), k=1)
    for row in np.flatnonzero(close.any(axis=1)).tolist():
        if nearest.keepers[start + row] < 0:
            later = np.flatnonzero(close[row]) + start
            nearest.offer(later, np.full(len(later), start + row, dtype=np.int64))


def _pairs(block: NDArray[np.float32], tile: NDArray[np.float32], floors: NDArray[np.float32]) -> tuple[Rows, Rows]:
    """Propose the pairs of a row of `block` and a row of `tile` whose product reaches the floor of the row."""
    products = block @ tile.T
    # one flat scan: np.nonzero over two dimensions is several times slower on the few pairs that are found
    flat = np.flatnonzero(products >= floors[:, None])
    if len(flat) > PAIR_ROWS:  # a crowded tile: leave only what may be the nearest of its row
        floors = np.maximum(floors, products.max(axis=1) - np.float32(2 * MARGIN))
        flat = np.flatnonzero(products >= floors[:, None])
    return flat // len(tile), flat % len(tile)


def _append_tiles(kept: list[tuple[Rows, NDArray[np.float32]]], positions: Rows, block: NDArray[np.float32]) -> None:
    """Add rows to the kept ones, filling the last tile before starting another."""
    if kept and len(kept[-1][0]) < TILE_ROWS:
        last_positions, last = kept.pop()
        positions, block = np.concatenate([last_positions, positions]), np.concatenate([last, block])
    for start in range(0, len(positions), TILE_ROWS):
        # copied, or the tile would hold the whole of the array it was cut from
        kept.append((positions[start : start + TILE_ROWS].copy(), block[start : start + TILE_ROWS].copy()))


def _canonical_order(ids: Sequence[str]) -> Rows:
    """Return the rows by ascending id (code points), the order in which rows are decided."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def _blocks(n_rows: int, block_rows: int) -> Iterator[slice]:
    return (slice(start, min(start + block_rows, n_rows)) for start in range(0, n_rows, block_rows))


def _check_arguments(ids: Sequence[str], similarity: float, block_rows: int) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError("row ids must be unique")
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity must be above 0 and at most 1, not {similarity}")
    if block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, not {block_rows}")


def _encode(ids: Sequence[str], texts: Sequence[str], encoder: Encoder) -> NDArray[np.float32]:
    """Embed at least one text, ENCODE_ROWS at a time, as one array of shape (rows, dimensions)."""
    vectors = np.empty((len(texts), 0), dtype=np.float32)
    for block in _blocks(len(texts), ENCODE_ROWS):
        encoded = encoder.encode(texts[block])
        if block.start == 0 and encoded.ndim == 2:
            vectors = np.empty((len(texts), encoded.shape[1]), dtype=np.float32)
        if encoded.shape != vectors[block].shape:
            raise ModelError(
                f"an array of shape {encoded.shape} came back for {len(texts[block])} texts",
                where=f"{encoder.model}, rows {ids[block][0]} to {ids[block][-1]}",
                next_step=_NEXT_STEP,
            )
        vectors[block] = encoded
    return vectors


def _lengths(ids: Sequence[str], vectors: NDArray[np.float32], order: Rows, block_rows: int) -> Floats:
    """Return the Euclidean length of each vector in the order of ids, in double precision; refuse unusable vectors."""
    if vectors.ndim != 2 or vectors.shape[0] != len(ids) or not np.issubdtype(vectors.dtype, np.floating):
        raise ModelError(
            f"an array of shape {vectors.shape} and type {vectors.dtype} for {len(ids)} rows",
            where="near duplicates, where one vector of floats is needed for each row",
            next_step=_NEXT_STEP,
        )
    lengths = np.empty(len(order))
    for block in _blocks(len(order), block_rows):
        wide = vectors[order[block]].astype(np.float64)
        lengths[block] = np.sqrt((wide * wide).sum(axis=1))
    unusable = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(unusable):
        raise ModelError(
            f"{len(unusable)} of {len(order)} vectors are zero or not finite",
            where=f"near duplicates, first at row {ids[order[unusable[0]]]}",
            next_step=_NEXT_STEP,
        )
    return lengths
