# SPDX-License-Identifier: Apache-2.0
"""Exact and near duplicates of a whole dataset; every dropped row names the kept row it repeats.

The search is exact. An approximate index (HNSW in usearch, semhash, faiss) misses a few neighbours, so pairs above the
threshold stay in the dataset, and which ones depends on the order in which rows were inserted. Here the outcome is a
function of the set of (id, text or vector) alone: rows are decided greedily in the order of their ids, whatever order
they come in, however they are cut into blocks, on however many threads.

A block of rows meets the kept rows before it, tile by tile, and then itself: memory is the heads of the kept vectors
(validators/cosine_bounds.py) and one tile, never rows x rows, also where all rows are alike.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from validators.errors import ModelError
from validators.nearest import BLOCK_ROWS, NEXT_STEP, TILE_ROWS, Heads, Nearest, Rows, Singles, bound_of, lengths_of
from validators.roles import Encoder

ENCODE_ROWS = 1024  # fixed, so that the encoder sees the same batches whatever the block size


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row to drop, the kept row it repeats, and their cosine similarity rounded to six decimals."""

    row_id: str
    kept_id: str
    similarity: float
    kind: Literal["exact", "near"]


class LargeSearch(Protocol):
    """A search for near duplicates of more vectors than are compared all with all."""

    @property
    def from_rows(self) -> int:
        """The number of vectors from which on it is used."""
        ...

    def room(self, n_rows: int, dimensions: int) -> Singles:
        """Make room for vectors, in the order of their ids."""
        ...

    def near_duplicates(self, ids: Sequence[str], *, similarity: float, settled: int = 0) -> list[Duplicate]:
        """Search the vectors that lie in the room, as `near_duplicates` does."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Rows that stay whatever comes: none repeats another of them. `vectors` has shape (rows, dimensions)."""

    ids: Sequence[str] = ()
    texts: Sequence[str] = ()
    vectors: Singles = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))


def find_duplicates(
    ids: Sequence[str],
    texts: Sequence[str],
    encoder: Encoder,
    *,
    similarity: float,
    settled: Settled | None = None,
    block_rows: int = BLOCK_ROWS,
    large: LargeSearch | None = None,
) -> tuple[list[Duplicate], Settled]:
    """Find the rows to drop so that no two kept rows have equal normalised texts or a cosine of `similarity` or more.

    Texts that differ in case, white space or punctuation alone share one vector: that of the first of them by id, the
    only one that is encoded and can be kept. Where that one is dropped as a near duplicate, its copies follow it.
    Settled rows count as the first by id; they are neither encoded nor compared with each other again. Where there are
    many pairs they are left to `large`, if there is one.
    Returns one entry per dropped row, ordered by row id, and the rows that stay, which the next ones may repeat.
    """
    settled = settled or Settled()
    if len(texts) != len(ids):
        raise ValueError(f"{len(texts)} texts for {len(ids)} ids")
    _check_arguments([*settled.ids, *ids], similarity, block_rows)
    known: dict[str, int] = {}
    for row, text in enumerate(settled.texts):
        known.setdefault(normalise(text), row)
    copies: dict[str, list[int]] = {}
    for row in _canonical_order(ids).tolist():
        copies.setdefault(normalise(texts[row]), []).append(row)
    firsts = [rows[0] for text, rows in copies.items() if text not in known]
    fresh = [(ids[row], texts[row]) for row in firsts]
    n_settled = len(settled.ids)
    # as many pairs as among the rows from which on all pairs are too many
    many = large if large and fresh and len(fresh) * (2 * n_settled + len(fresh)) >= large.from_rows**2 else None
    vectors = _encode(settled, fresh, encoder, many.room if many else _in_memory)
    row_ids = [*settled.ids, *(row_id for row_id, _ in fresh)]
    if many:
        near = many.near_duplicates(row_ids, similarity=similarity, settled=n_settled)
    else:
        near = near_duplicates(row_ids, vectors, similarity=similarity, settled=n_settled, block_rows=block_rows)
    dropped = {duplicate.row_id: duplicate for duplicate in near}
    found = list(near)
    for text, rows in copies.items():
        follows = dropped.get(ids[rows[0]])
        kept_id = ids[rows[0]] if text not in known else settled.ids[known[text]]
        for row in rows if text in known else rows[1:]:
            if follows is None:
                found.append(Duplicate(ids[row], kept_id, 1.0, "exact"))
            else:
                found.append(Duplicate(ids[row], follows.kept_id, follows.similarity, "near"))
    stay = [place for place, row in enumerate(firsts) if ids[row] not in dropped]
    kept = [firsts[place] for place in stay]
    new = Settled([ids[row] for row in kept], [texts[row] for row in kept], np.asarray(vectors[n_settled:])[stay])
    return sorted(found, key=lambda duplicate: duplicate.row_id), new


def encode(ids: Sequence[str], texts: Sequence[str], encoder: Encoder) -> Singles:
    """Embed at least one text as the search for duplicates does; shape (rows, dimensions)."""
    return _encode(Settled(), list(zip(ids, texts, strict=True)), encoder, _in_memory)


def near_duplicates(
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    *,
    similarity: float,
    settled: int = 0,
    block_rows: int = BLOCK_ROWS,
) -> list[Duplicate]:
    """Find the rows to drop so that no two kept rows have a cosine of `similarity` or more.

    `vectors` has shape (rows, dimensions), of any length but zero. In the order of ids, a row is dropped if a row kept
    before it is that near, and names the nearest of those, the first by id among equals. The first `settled` rows come
    before all others and are kept without being compared with each other. Returns one entry per dropped row, ordered by
    row id.
    """
    _check_arguments(ids, similarity, block_rows)
    if len(ids) == settled:
        return []
    order = np.concatenate([_canonical_order(ids[:settled]), settled + _canonical_order(ids[settled:])])
    lengths = lengths_of(ids, vectors, order)
    nearest = Nearest(vectors, order, lengths, similarity, bound_of(vectors, order, lengths, similarity))
    keep_first(nearest, settled=settled, block_rows=block_rows)
    return [
        Duplicate(ids[order[row]], ids[order[nearest.keepers[row]]], float(nearest.similarities[row]), "near")
        for row in np.flatnonzero(nearest.keepers >= 0)
    ]


def keep_first(nearest: Nearest, *, settled: int = 0, block_rows: int = BLOCK_ROWS) -> None:
    """Decide all rows of a search but the settled ones, in order: those without a keeper afterwards are kept."""
    kept: list[Heads] = []
    for positions in _blocks(np.arange(settled), block_rows):
        _append_tiles(kept, nearest.heads(positions))
    for positions in _blocks(np.arange(settled, len(nearest.order)), block_rows):
        block = nearest.heads(positions)
        for tile in kept:
            nearest.compare(block, tile)
        nearest.settle(positions)
        _append_tiles(kept, block[np.flatnonzero(nearest.keepers[positions] < 0)])


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


def _append_tiles(kept: list[Heads], new: Heads) -> None:
    """Add rows to the kept ones, filling the last tile before starting another."""
    if kept and len(kept[-1]) < TILE_ROWS:
        new = kept.pop().then(new)
    kept.extend(new[start : start + TILE_ROWS] for start in range(0, len(new), TILE_ROWS))


def _canonical_order(ids: Sequence[str]) -> Rows:
    """Return the rows by ascending id (code points), the order in which rows are decided."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def _blocks(rows: Rows, block_rows: int) -> Iterator[Rows]:
    return (rows[start : start + block_rows] for start in range(0, len(rows), block_rows))


def _check_arguments(ids: Sequence[str], similarity: float, block_rows: int) -> None:
    if len(set(ids)) != len(ids):
        raise ValueError("row ids must be unique")
    if not 0 < similarity <= 1:
        raise ValueError(f"similarity must be above 0 and at most 1, not {similarity}")
    if block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, not {block_rows}")


def _in_memory(n_rows: int, dimensions: int) -> Singles:
    return np.empty((n_rows, dimensions), dtype=np.float32)


def _encode(
    settled: Settled, rows: Sequence[tuple[str, str]], encoder: Encoder, room: Callable[[int, int], Singles]
) -> Singles:
    """Embed rows of an id and a text, ENCODE_ROWS at a time, behind the settled ones; shape (rows, dimensions)."""
    if not rows:
        return settled.vectors
    n_settled = len(settled.ids)
    vectors = _in_memory(n_settled + len(rows), settled.vectors.shape[1])
    for start in range(0, len(rows), ENCODE_ROWS):
        block = rows[start : start + ENCODE_ROWS]
        encoded = encoder.encode([text for _, text in block])
        if start == 0 and encoded.ndim == 2:
            vectors = room(len(vectors), vectors.shape[1] if n_settled else encoded.shape[1])
            if n_settled:
                vectors[:n_settled] = settled.vectors
        place = vectors[n_settled + start : n_settled + start + len(block)]
        if encoded.shape != place.shape:
            raise ModelError(
                f"an array of shape {encoded.shape} came back for {len(block)} texts",
                where=f"{encoder.model}, rows {block[0][0]} to {block[-1][0]}",
                next_step=NEXT_STEP,
            )
        place[:] = encoded
    return vectors
