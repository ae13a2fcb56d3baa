# SPDX-License-Identifier: Apache-2.0
"""Agreement of people, held to published examples and to the definition written out pair by pair."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from validators.human_agreement import human_agreement, krippendorff_alpha
from validators.rating_schemas import Perceived, Rating

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), examples A (two observers, binary) and C (four
# observers, five values, missing ones)
BINARY = {"ann": "0100000010", "bob": "1110010000"}
FOUR = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def rating(rater="ann", item="u-00000-0000", labels=None, **others):
    content = {
        "rater": rater, "kind": "text", "position": 0, "presentation": "first", "item_id": item, "turn": None,
        "item_sha256": "0", "labels": tuple(Perceived(label=k, intensity=v) for k, v in (labels or {}).items()),
        "asked_label": None, "intended_label": "joy", "perceived_label": None, "counted": True, "answered_ms": 0,
    }  # fmt: skip
    return Rating(**{**content, **others})


def counts(rows, values):
    return np.array([[sum(row[n] == value for row in rows) for value in values] for n in range(len(rows[0]))])


def by_pairs(units, values, distance):
    """Alpha by its definition: mean distance of values within units over that among all pairable values."""
    units = [unit for unit in units if len(unit) >= 2]
    pooled = [value for unit in units for value in unit]
    if len(set(pooled)) < 2:
        return None
    frequency = {value: pooled.count(value) for value in values}
    apart = distance(frequency)
    within = sum(apart(one, other) / (len(unit) - 1) for unit in units for one, other in permutations(unit, 2)) / len(
        pooled
    )
    among = sum(apart(one, other) for one, other in permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    return 1 - within / among


def nominal(_):
    return lambda one, other: float(one != other)


def ordinal(frequency):
    def apart(one, other):
        low, high = min(one, other), max(one, other)
        between = sum(n for value, n in frequency.items() if low <= value <= high)
        return (between - (frequency[low] + frequency[high]) / 2) ** 2

    return apart


def test_two_observers_of_the_published_example():
    ratings = [
        rating(rater, f"u-{n}", {"joy": 1} if value == "1" else {})
        for rater, row in BINARY.items()
        for n, value in enumerate(row)
    ]
    found = human_agreement(ratings, ["joy"])
    # by hand: 4 of 10 units disagree, 14 zeros and 6 ones: 1 - 19 * 4 / (14 * 6)
    assert found.alpha is not None
    assert found.alpha.estimate == pytest.approx(1 - 76 / 84)
    assert found.per_label["joy"].alpha == found.alpha
    assert found.alpha.low < found.alpha.estimate < found.alpha.high


def test_four_observers_with_missing_values_of_the_published_example():
    found = counts(FOUR, range(1, 6))
    assert krippendorff_alpha(found, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(found, "ordinal") == pytest.approx(0.815, abs=5e-4)


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=8))
def test_alpha_is_its_definition(units):
    found = np.array([[unit.count(value) for value in range(4)] for unit in units])
    for value, distance in (
        (krippendorff_alpha(found, "nominal"), nominal),
        (krippendorff_alpha(found, "ordinal"), ordinal),
    ):
        expected = by_pairs(units, range(4), distance)
        assert (value is None) == (expected is None)
        if value is not None and expected is not None:
            assert math.isclose(value, expected, abs_tol=1e-9)


def test_who_did_not_rate_an_item_says_nothing_about_it():
    both = [rating(who, f"u-{n}", {"joy": 1} if n % 2 else {}) for who in ("ann", "bob") for n in range(6)]
    alone = [rating("eve", "u-9", {"joy": 2})]
    one, other = human_agreement(both, ["joy"]), human_agreement(both + alone, ["joy"])
    assert one.alpha is not None
    assert other.alpha is not None
    assert one.alpha.estimate == other.alpha.estimate == 1
    assert (other.items, other.items_of_two) == (7, 6)


def test_intensities_count_where_levels_are_ordered():
    def with_strengths(*pairs):
        ratings = [
            rating(who, f"u-{n}", {} if strength is None else {"joy": strength})
            for n, pair in enumerate(pairs)
            for who, strength in zip(("ann", "bob"), pair, strict=True)
        ]
        return human_agreement(ratings, ["joy"])

    near = with_strengths((None, None), (0, 1), (1, 2), (2, 2), (0, 0))
    far = with_strengths((None, None), (0, 2), (0, 2), (2, 2), (0, 0))
    assert near.alpha is not None
    assert far.alpha is not None
    assert near.alpha.estimate == far.alpha.estimate == 1
    assert near.alpha_intensity is not None
    assert far.alpha_intensity is not None
    assert 1 > near.alpha_intensity.estimate > far.alpha_intensity.estimate


def test_what_was_intended_and_perceived_is_compared_with_every_answer():
    ratings = [
        rating("ann", "u-1", {"joy": 1}, perceived_label="fear"),
        rating("bob", "u-1", {"joy": 0, "fear": 2}, perceived_label="fear"),
        rating("ann", "u-2", {}, intended_label="fear", perceived_label="fear"),
        rating("bob", "u-2", {"joy": 1}, intended_label="fear", perceived_label="fear"),
    ]
    found = human_agreement(ratings, ["fear", "joy"])
    values = (found.intended_heard, found.perceived_heard, found.intended_f1, found.perceived_f1)
    # 2 and 1 of 4 answers hold it; 4 labels were chosen
    assert [one and one.estimate for one in values] == [0.5, 0.25, 2 * 2 / (4 + 4), 2 * 1 / (4 + 4)]
    heard = {label: one.intended_heard and one.intended_heard.estimate for label, one in found.per_label.items()}
    assert heard == {"joy": 1.0, "fear": 0.0}


def test_repeats_and_checks_are_told_of_each_rater_and_kept_out_of_alpha():
    ratings = [
        rating("ann", "u-1", {"joy": 1}),
        rating("ann", "u-1", {"joy": 2}, presentation="again"),
        rating("ann", "u-2", {"joy": 1, "fear": 1}),
        rating("ann", "u-2", {"fear": 1}, presentation="again"),
        rating("ann", None, {"joy": 0}, presentation="check", asked_label="joy", intended_label=None),
        rating("bob", None, {"fear": 1}, presentation="check", asked_label="joy", intended_label=None),
        rating("bob", None, {"fear": 1, "joy": 1}, presentation="check", asked_label="joy", intended_label=None),
    ]
    found = human_agreement(ratings, ["fear", "joy"])
    assert (found.repeats, found.repeats_equal, found.repeats_overlap) == (2, 0.5, 0.75)
    assert {name: (one.checks, one.checks_failed) for name, one in found.raters.items()} == {
        "ann": (1, 0),
        "bob": (2, 2),
    }
    assert (found.answers, found.items, found.alpha) == (2, 2, None)


def test_who_is_left_out_counts_in_no_figure():
    ratings = [rating(who, f"u-{n}", {"joy": 1} if n % 2 else {}) for who in ("ann", "bob") for n in range(6)]
    odd = [rating("eve", f"u-{n}", {} if n % 2 else {"joy": 1}, counted=False) for n in range(6)]
    found = human_agreement(ratings + odd, ["joy"])
    assert found.alpha is not None
    assert found.alpha.estimate == 1
    assert (found.raters["eve"].answers, found.raters["eve"].counted) == (6, False)


def test_nothing_rated_has_no_figures():
    found = human_agreement([], ["joy"])
    assert (found.items, found.alpha, found.intended_heard, found.repeats_equal) == (0, None, None, None)
