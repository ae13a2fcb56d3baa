# SPDX-License-Identifier: Apache-2.0
"""What must hold of duplicates for any vectors and texts, checked against a brute-force double-precision reference."""

import unicodedata
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from validators import duplicates, nearest
from validators.duplicates import Duplicate, Settled, find_duplicates, near_duplicates, normalise
from validators.errors import ModelError

Vectors = NDArray[np.float32]


def reference(ids: Sequence[str], vectors: Vectors, similarity: float) -> list[Duplicate]:
    """Decide row after row with nothing but float64 dot products."""
    wide = vectors.astype(np.float64)
    kept: list[int] = []
    found = []
    for row in sorted(range(len(ids)), key=lambda row: ids[row]):
        near = [(-cosine(wide[row], wide[keeper]), ids[keeper]) for keeper in kept]
        nearest, kept_id = min(near, default=(np.inf, ""))
        if -nearest >= round(similarity, 6):
            found.append(Duplicate(ids[row], kept_id, -nearest, "near"))
        else:
            kept.append(row)
    return found


def cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return round(float((left * right).sum() / np.sqrt((left * left).sum()) / np.sqrt((right * right).sum())), 6)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[list[str], Vectors, float]:
    """Ids in any order; vectors on a coarse grid, so that equal and equally near ones abound; a threshold."""
    n_rows = draw(st.integers(1, 40))
    dimensions = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    reach = draw(st.integers(1, 3))
    grid = random.integers(-reach, reach + 1, size=(n_rows, dimensions)).astype(np.float32)
    grid[~grid.any(axis=1)] = 1
    if draw(st.booleans()):
        grid += random.normal(0, 0.05, size=grid.shape).astype(np.float32)
    if draw(st.booleans()):
        grid *= random.uniform(1e-3, 1e3, size=(n_rows, 1)).astype(np.float32)
    ids = [f"u-{number:05}-0000" for number in random.permutation(n_rows)]
    similarity = draw(st.sampled_from([0.05, 0.5, 0.7, 0.8, 0.9, 0.95, 0.999, 1.0]))
    return ids, grid, similarity


block_sizes = st.integers(1, 45)


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Make tiles and chunks so small that a few rows cross all their borders."""
    patch = pytest.MonkeyPatch()
    patch.setattr(duplicates, "TILE_ROWS", 7)
    patch.setattr(nearest, "PAIR_ROWS", 5)
    patch.setattr(duplicates, "ENCODE_ROWS", 4)
    yield
    patch.undo()


@settings(max_examples=300)
@given(datasets(), block_sizes)
def test_agrees_with_the_reference_for_any_block_size(data, block_rows):
    ids, vectors, similarity = data
    found = near_duplicates(ids, vectors, similarity=similarity, block_rows=block_rows)
    assert [(row.row_id, row.kept_id) for row in found] == [
        (row.row_id, row.kept_id) for row in reference(ids, vectors, similarity)
    ]
    assert [row.similarity for row in found] == pytest.approx(
        [row.similarity for row in reference(ids, vectors, similarity)], abs=1e-9
    )


@given(datasets(), block_sizes)
def test_dropped_rows_are_near_a_kept_row_and_kept_rows_are_not(data, block_rows):
    ids, vectors, similarity = data
    found = near_duplicates(ids, vectors, similarity=similarity, block_rows=block_rows)
    wide = dict(zip(ids, vectors.astype(np.float64), strict=True))
    dropped = {duplicate.row_id for duplicate in found}
    assert len(dropped) == len(found)
    kept = sorted(set(ids) - dropped)
    assert kept
    for duplicate in found:
        assert duplicate.kept_id in kept
        assert duplicate.kept_id < duplicate.row_id
        assert duplicate.similarity == pytest.approx(cosine(wide[duplicate.row_id], wide[duplicate.kept_id]), abs=1e-9)
        assert duplicate.similarity >= similarity
    for position, row_id in enumerate(kept):
        assert all(cosine(wide[row_id], wide[other]) < similarity for other in kept[:position])


@given(datasets(), st.randoms(use_true_random=False), block_sizes, block_sizes)
def test_order_and_block_size_change_nothing(data, random, one_size, other_size):
    ids, vectors, similarity = data
    order = list(range(len(ids)))
    random.shuffle(order)
    assert near_duplicates(ids, vectors, similarity=similarity, block_rows=one_size) == near_duplicates(
        [ids[row] for row in order], vectors[order], similarity=similarity, block_rows=other_size
    )


@given(datasets(), block_sizes)
def test_a_second_pass_finds_nothing(data, block_rows):
    ids, vectors, similarity = data
    dropped = {row.row_id for row in near_duplicates(ids, vectors, similarity=similarity, block_rows=block_rows)}
    kept = [row for row, row_id in enumerate(ids) if row_id not in dropped]
    assert near_duplicates([ids[row] for row in kept], vectors[kept], similarity=similarity) == []


class LetterEncoder:
    """Counts letters, so that texts with mostly the same letters are near; remembers its batches."""

    model = "letters@1"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        counts = np.zeros((len(texts), 8), dtype=np.float32)
        for row, text in enumerate(texts):
            for letter in text:
                counts[row, zlib.crc32(letter.encode()) % 8] += 1
        counts[:, 0] += 0.1
        unit: Vectors = (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)
        return unit


texts_of = st.lists(st.text(alphabet="aAbBc. !", max_size=6), max_size=25)


@given(texts_of, st.randoms(use_true_random=False), st.sampled_from([0.8, 0.95, 1.0]), block_sizes)
def test_texts_order_independent_idempotent_and_encoded_alike(texts, random, similarity, block_rows):
    ids = [f"u-00000-{number:04}" for number in range(len(texts))]
    first_encoder, second_encoder = LetterEncoder(), LetterEncoder()
    found, _ = find_duplicates(ids, texts, first_encoder, similarity=similarity)
    order = list(range(len(ids)))
    random.shuffle(order)
    again, _ = find_duplicates(
        [ids[row] for row in order],
        [texts[row] for row in order],
        second_encoder,
        similarity=similarity,
        block_rows=block_rows,
    )
    assert found == again
    assert first_encoder.batches == second_encoder.batches
    text_of = dict(zip(ids, texts, strict=True))
    dropped = {duplicate.row_id for duplicate in found}
    kept = [row_id for row_id in ids if row_id not in dropped]
    assert len({normalise(text_of[row_id]) for row_id in kept}) == len(kept)
    for duplicate in found:
        assert duplicate.kept_id in kept
        same = normalise(text_of[duplicate.row_id]) == normalise(text_of[duplicate.kept_id])
        assert same == (duplicate.kind == "exact")
    texts_of_kept = [text_of[row_id] for row_id in kept]
    assert find_duplicates(kept, texts_of_kept, LetterEncoder(), similarity=similarity)[0] == []


class InRounds(NamedTuple):
    """A dataset of which the first rows by id were decided before."""

    settled: list[int]
    """Rows that stay, by id."""
    rows: list[int]
    """Rows that are new, by id."""
    expected: list[Duplicate]
    """What a decision in one go says of the new ones."""


def in_rounds(ids: Sequence[str], vectors: Vectors, similarity: float, share: float) -> InRounds:
    """Cut a dataset after a share of its rows."""
    whole = near_duplicates(ids, vectors, similarity=similarity)
    dropped = {duplicate.row_id for duplicate in whole}
    order = sorted(range(len(ids)), key=ids.__getitem__)
    cut = int(share * len(ids))
    new = {ids[row] for row in order[cut:]}
    settled = [row for row in order[:cut] if ids[row] not in dropped]
    return InRounds(settled, order[cut:], [duplicate for duplicate in whole if duplicate.row_id in new])


@given(datasets(), st.floats(0, 1), block_sizes)
def test_what_is_settled_stays_and_the_rest_is_decided_as_in_one_go(data, share, block_rows):
    ids, vectors, similarity = data
    settled, new, expected = in_rounds(ids, vectors, similarity, share)
    rows = [*reversed(settled), *reversed(new)]
    found = near_duplicates(
        [ids[row] for row in rows], vectors[rows], similarity=similarity, settled=len(settled), block_rows=block_rows
    )
    assert found == expected


@example(["aabcc", "ac", "aac", "ac"], 0, 2)
@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=6), max_size=25), st.integers(0, 25), st.integers(0, 25))
def test_rows_that_come_in_rounds_are_encoded_once_and_the_same_ones_stay(texts, first, second):
    ids = [f"u-{number:04}" for number in range(len(texts))]
    encoder, settled, found = LetterEncoder(), Settled(), []
    first, second = sorted((first, second))
    for start, end in ((0, first), (first, second), (second, None)):
        repeated, stay = find_duplicates(ids[start:end], texts[start:end], encoder, similarity=0.9, settled=settled)
        found += repeated
        vectors = np.concatenate([settled.vectors.reshape(-1, 8), stay.vectors.reshape(-1, 8)])
        settled = Settled([*settled.ids, *stay.ids], [*settled.texts, *stay.texts], vectors)
    at_once, _ = find_duplicates(ids, texts, LetterEncoder(), similarity=0.9)
    # a copy of a row that a round before dropped names the nearest row, which may be another one by then
    assert [duplicate.row_id for duplicate in found] == [duplicate.row_id for duplicate in at_once]
    assert {duplicate.kept_id for duplicate in found} <= set(settled.ids)
    assert set(settled.ids) == set(ids) - {duplicate.row_id for duplicate in found}
    assert [encoder.encode([text])[0].tolist() for text in settled.texts] == settled.vectors.tolist()


def test_a_settled_row_is_never_dropped_whatever_its_id():
    vectors = LetterEncoder().encode(["ab", "abbb"])
    settled = Settled(["z", "y"], ["ab", "abbb"], vectors)
    encoder = LetterEncoder()
    found, stay = find_duplicates(["b", "a", "c"], ["AB", "cc", "bbab"], encoder, similarity=0.9, settled=settled)
    assert [(row.row_id, row.kept_id, row.kind) for row in found] == [("b", "z", "exact"), ("c", "y", "near")]
    assert (stay.ids, stay.texts) == (["a"], ["cc"])
    assert encoder.batches == [["cc", "bbab"]]


def test_vectors_of_another_length_than_the_settled_ones_are_a_model_error():
    settled = Settled(["a"], ["ab"], np.ones((1, 3), dtype=np.float32))
    with pytest.raises(ModelError, match="letters@1"):
        find_duplicates(["b"], ["cd"], LetterEncoder(), similarity=0.9, settled=settled)


@given(st.text(max_size=20))
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("I can't!", "i  CAN’T …", True),
        ("STRASSE", "straße", True),
        ("well\u200bdone", "welldone", True),
        ("cant", "can't", False),
        ("Fine 😀", "Fine 😡", False),
        ("कि", "की", False),
        ("...", "?!", False),
    ],
)
def test_normalise_joins_and_separates(one, other, same):
    assert (normalise(one) == normalise(other)) is same


@pytest.mark.parametrize("block_rows", [1, 2, 3, 4])
@pytest.mark.parametrize("tile_rows", [1, 2])
def test_equally_near_rows_name_the_first_by_id(monkeypatch, block_rows, tile_rows):
    monkeypatch.setattr(duplicates, "TILE_ROWS", tile_rows)
    vectors = np.array([[2, 1], [1, 2], [1, 1], [3, 1]], dtype=np.float32)
    found = near_duplicates(["b", "a", "d", "c"], vectors, similarity=0.9, block_rows=block_rows)
    # d is as near to a as to b; c is nearer to b
    assert [(row.row_id, row.kept_id) for row in found] == [("c", "b"), ("d", "a")]
    assert found[1].similarity == 0.948683


def test_all_identical_rows_keep_the_first():
    ids = [f"u-00000-{number:04}" for number in range(300)]
    found = near_duplicates(ids, np.ones((300, 4), dtype=np.float32), similarity=1.0, block_rows=64)
    assert found == [Duplicate(row_id, ids[0], 1.0, "near") for row_id in ids[1:]]
    encoder = LetterEncoder()
    found, _ = find_duplicates(ids, ["Oh!"] * 300, encoder, similarity=0.9)
    assert found == [Duplicate(row_id, ids[0], 1.0, "exact") for row_id in ids[1:]]
    assert encoder.batches == [["Oh!"]]


def test_copies_of_a_dropped_row_follow_it():
    found, _ = find_duplicates(["a", "b", "c"], ["aab aab", "aab aabb", "AAB aabb!"], LetterEncoder(), similarity=0.8)
    assert [(row.row_id, row.kept_id, row.kind) for row in found] == [("b", "a", "near"), ("c", "a", "near")]
    assert found[0].similarity == found[1].similarity < 1


def test_zero_rows_find_nothing():
    assert near_duplicates([], np.empty((0, 3), dtype=np.float32), similarity=0.9) == []
    assert find_duplicates([], [], LetterEncoder(), similarity=0.9)[0] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_unusable_vector_is_named(value):
    vectors = np.ones((3, 2), dtype=np.float32)
    vectors[1] = value
    with pytest.raises(ModelError, match="1 of 3 vectors") as error:
        near_duplicates(["u-2", "u-1", "u-0"], vectors, similarity=0.9)
    assert "u-1" in error.value.where


@pytest.mark.parametrize("shape", [(2, 4), (3,), (3, 2, 2), (3, 0)])
def test_wrong_shapes_are_model_errors(shape):
    with pytest.raises(ModelError):
        near_duplicates(["a", "b", "c"], np.ones(shape, dtype=np.float32), similarity=0.9)

    class Broken(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            return np.ones(shape, dtype=np.float32)

    with pytest.raises(ModelError):
        find_duplicates(["a", "b", "c"], ["x", "y", "z"], Broken(), similarity=0.9)


def test_dimensions_that_change_between_batches_are_a_model_error():
    class Growing(LetterEncoder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            self.batches.append(list(texts))
            return np.ones((len(texts), 1 + len(self.batches)), dtype=np.float32)

    texts = ["ab", "cd", "ef", "gh", "ij", "kl"]
    with pytest.raises(ModelError, match="letters@1"):
        find_duplicates(texts, texts, Growing(), similarity=0.9)


@pytest.mark.parametrize(
    ("ids", "similarity", "block_rows"), [(["a", "a"], 0.9, 8), (["a", "b"], 1.1, 8), (["a", "b"], 0.9, 0)]
)
def test_wrong_arguments_are_refused(ids, similarity, block_rows):
    with pytest.raises(ValueError, match=r"unique|similarity|block_rows"):
        near_duplicates(ids, np.ones((2, 2), dtype=np.float32), similarity=similarity, block_rows=block_rows)


def test_thread_count_changes_nothing():
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    random = np.random.default_rng(5)
    vectors = random.normal(size=(600, 64)).astype(np.float32)
    vectors[300:] = vectors[:300] + random.normal(0, 0.45, size=(300, 64)).astype(np.float32)
    ids = [f"u-{number:05}-0000" for number in random.permutation(600)]
    with limits(1):
        one = near_duplicates(ids, vectors, similarity=0.9)
    with limits(2):
        two = near_duplicates(ids, vectors, similarity=0.9, block_rows=100)
    assert one == two
    assert 50 < len(one) < 300
