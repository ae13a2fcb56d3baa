# SPDX-License-Identifier: Apache-2.0
"""The partitioned search decides as the search of all pairs does, whatever the partitions and whoever searches them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import partition_files, partitioned
from flows.partition_files import in_processes
from flows.partitioned import PartitionedSearch
from tests.benchmarks.bench_duplicates import make_vectors
from tests.properties.test_duplicates import LetterEncoder, Vectors, datasets, in_rounds
from validators import cosine_bounds, nearest, partitions
from validators.cosine_bounds import fit_bound
from validators.duplicates import Duplicate, find_duplicates, near_duplicates, normalise
from validators.errors import ModelError


@pytest.fixture
def small(monkeypatch):
    """Make all borders so narrow that a few rows cross them, and bounds so cheap that few dimensions have one."""
    monkeypatch.setattr(partition_files, "TASK_ROWS", 9)
    monkeypatch.setattr(partition_files, "BLOCK_ROWS", 4)
    monkeypatch.setattr(partitions, "BLOCK_ROWS", 5)
    monkeypatch.setattr(partitions, "TILE_ROWS", 3)
    monkeypatch.setattr(nearest, "PAIR_ROWS", 5)
    monkeypatch.setattr(nearest, "BOUND_ROWS", 2)
    monkeypatch.setattr(cosine_bounds, "SIZES", (1, 2, 3))
    monkeypatch.setattr(cosine_bounds, "SCAN_COST", 0)
    monkeypatch.setattr(cosine_bounds, "PAIR_COST", 1)


def search(folder: Path, ids: list[str], vectors: Vectors, similarity: float, **options) -> list[Duplicate]:
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return search_in_order(folder, [ids[row] for row in order], vectors[order], similarity, **options)


def search_in_order(
    folder: Path, ids: list[str], vectors: Vectors, similarity: float, *, settled: int = 0, **options
) -> list[Duplicate]:
    searched = PartitionedSearch(folder / "search", **{"most_visits": 1.0, **options})
    searched.room(*vectors.shape)[:] = vectors
    return searched.near_duplicates(ids, similarity=similarity, settled=settled)


@pytest.mark.usefixtures("small")
@settings(max_examples=40, deadline=None)  # which imports scikit-learn once, and writes files
@given(data=datasets(), count=st.integers(1, 6), last=st.sampled_from([0, 4, 100]))
def test_agrees_with_the_search_of_all_pairs(tmp_path_factory, data, count, last):
    ids, vectors, similarity = data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitioned, "LAST_ROWS", last)
        found = search(tmp_path_factory.mktemp("p"), ids, vectors, similarity, count=count)
    assert found == near_duplicates(ids, vectors, similarity=similarity)


@pytest.mark.usefixtures("small")
@settings(max_examples=40, deadline=None)
@given(data=datasets(), share=st.floats(0, 1), count=st.integers(1, 6), most_visits=st.sampled_from([0.0, 1.0]))
def test_settled_rows_stay_and_the_rest_is_decided_as_in_one_go(tmp_path_factory, data, share, count, most_visits):
    ids, vectors, similarity = data
    settled, new, expected = in_rounds(ids, vectors, similarity, share)
    rows = [*settled, *new]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitioned, "LAST_ROWS", 4)
        found = search_in_order(
            *(tmp_path_factory.mktemp("p"), [ids[row] for row in rows], vectors[rows], similarity),
            settled=len(settled),
            count=count,
            most_visits=most_visits,
        )
    assert found == expected


@pytest.mark.usefixtures("small")
@settings(deadline=None)
@given(data=datasets())
def test_a_bound_changes_nothing(data):
    ids, vectors, similarity = data
    with_bound = near_duplicates(ids, vectors, similarity=similarity, block_rows=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BOUND_ROWS", 10**6)
        assert with_bound == near_duplicates(ids, vectors, similarity=similarity, block_rows=4)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 60), st.sampled_from([0.3, 0.7, 0.95]))
def test_heads_never_say_less_than_the_cosine(seed, dimensions, floor):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(60, dimensions)) * np.arange(1, dimensions + 1) ** -1.0
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    bound = fit_bound(unit, floor)
    if bound is not None:
        heads = bound.heads(unit)
        assert heads.shape[1] < dimensions
        assert (heads @ heads.T >= unit @ unit.T - nearest.MARGIN / 2).all()


def test_real_sizes_agree_and_take_a_bound(tmp_path):
    vectors = make_vectors(5000, seed=3)
    ids = [f"{row:05}" for row in range(len(vectors))]
    expected = near_duplicates(ids, vectors, similarity=0.9)
    assert len(expected) > 200
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert nearest.bound_of(vectors, np.arange(len(vectors)), lengths, 0.9) is not None
    assert search(tmp_path, ids, vectors, 0.9) == expected
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(("most_visits", "partitioned_"), [(0.0, False), (1.0, True)])
def test_where_partitions_hardly_part_the_rows_all_are_compared(tmp_path, monkeypatch, most_visits, partitioned_):
    vectors = make_vectors(2000, seed=4)
    ids = [f"{row:05}" for row in range(len(vectors))]
    steps = []
    decide = partitioned.decide

    def noted(*given, **options):
        steps.append("decided")
        decide(*given, **options)

    monkeypatch.setattr(partitioned, "decide", noted)
    found = search(tmp_path, ids, vectors, 0.9, count=8, most_visits=most_visits)
    assert found == near_duplicates(ids, vectors, similarity=0.9)
    assert bool(steps) is partitioned_
    assert not (tmp_path / "search").exists()


def test_the_number_of_workers_changes_nothing_where_pairs_are_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(partitioned, "LAST_ROWS", 0)
    vectors = make_vectors(3000, seed=5)
    ids = [f"{row:05}" for row in range(len(vectors))]
    all_pairs = near_duplicates(ids, vectors, similarity=0.9)
    one = search(tmp_path, ids, vectors, 0.9, reach=0.0, count=128)
    with in_processes(2) as spread:
        two = search(tmp_path, ids, vectors, 0.9, reach=0.0, count=128, spread=spread)
    assert one == two
    assert 0 < len(one) < len(all_pairs)  # else the reach is too wide to show anything


def test_a_crowd_of_alike_rows_is_no_list_of_pairs(tmp_path, monkeypatch):
    measured = 0
    offer = nearest.Nearest.offer

    def counted(self, rows, keepers):
        nonlocal measured
        measured += len(rows)
        offer(self, rows, keepers)

    monkeypatch.setattr(nearest.Nearest, "offer", counted)
    monkeypatch.setattr(partitioned, "LAST_ROWS", 0)
    random = np.random.default_rng(1)
    crowd = random.normal(size=64) + 0.02 * random.normal(size=(4000, 64))
    ids = [f"{row:05}" for row in range(len(crowd))]
    found = search(tmp_path, ids, crowd.astype(np.float32), 0.9)
    assert len(found) == 3999
    assert measured < 4000 * 128  # each in each partition that it visits, and not 4000 x 4000 / 2


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_unusable_vector_is_named_and_the_folder_goes(tmp_path, value):
    vectors = np.ones((3, 2), dtype=np.float32)
    vectors[1] = value
    with pytest.raises(ModelError, match="1 of 3 vectors") as error:
        search(tmp_path, ["u-0", "u-1", "u-2"], vectors, 0.9)
    assert "u-1" in error.value.where
    assert list(tmp_path.iterdir()) == []


def test_many_texts_are_left_to_the_large_search(tmp_path):
    texts = [f"{'ab' * (number % 7)} {'cde' * (number % 5)} {number % 3}" for number in range(120)]
    ids = [f"u-{number:03}" for number in range(120)]
    expected, _ = find_duplicates(ids, texts, LetterEncoder(), similarity=0.95)
    asked = []

    class Noted(PartitionedSearch):
        def near_duplicates(self, ids, *, similarity, settled=0):
            asked.append(len(ids))
            return super().near_duplicates(ids, similarity=similarity, settled=settled)

    n_vectors = len({normalise(text) for text in texts})
    for from_rows, used in ((n_vectors + 1, []), (n_vectors, [n_vectors])):
        large = Noted(tmp_path / "search", from_rows=from_rows, count=3)
        assert find_duplicates(ids, texts, LetterEncoder(), similarity=0.95, large=large)[0] == expected
        assert asked == used
    assert {row.kind for row in expected} == {"exact", "near"}
