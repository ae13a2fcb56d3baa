# SPDX-License-Identifier: Apache-2.0
"""Whatever evidence there is and whatever is asked for, a plan keeps to its numbers."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generators.plans import (
    MANNERS,
    MAX_REPEATS,
    SEED_SPACE,
    PlanSettings,
    assign_splits,
    fill,
    plan_utterances,
    row_seed,
    share_out,
)
from validators.records import Evidence, Intensity, Split

FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("Ida", "Marek", "the fox")
LABELS = ("joy", "fear", "awe")
WEIGHT = st.floats(0.01, 1000)
INTENSITIES: list[tuple[Intensity, ...]] = [(1,), (2,), (1, 2), (2, 1)]


@st.composite
def evidences(draw: st.DrawFn) -> list[Evidence]:
    keys = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(NAMES), st.sampled_from(LABELS)),
            unique=True,
            max_size=12,
        )
    )
    return [
        Evidence(
            story_id=f"s-{story:012x}",
            section=section,
            character=name,
            label=label,
            cause=draw(st.sampled_from(["", "rain", "a letter"])),
            origin=draw(st.sampled_from(["given", "model"])),
        )
        for story, section, name, label in keys
    ]


@st.composite
def wanted(draw: st.DrawFn) -> PlanSettings:
    rows = draw(st.integers(1, 150))
    return PlanSettings(
        rows=rows,
        contextual_rows=draw(st.integers(0, rows)),
        weights=draw(st.dictionaries(st.sampled_from([*LABELS, "neutral"]), WEIGHT, min_size=1)),
        neutral=draw(st.sampled_from(["neutral", None])),
        intensities=draw(st.sampled_from(INTENSITIES)),
        shard_rows=draw(st.sampled_from([1, 7, 64, 10_000])),
        seed=draw(st.integers(0, SEED_SPACE - 1)),
    )


def capacities(evidence: list[Evidence], asked: PlanSettings) -> dict[str, int]:
    ways = {label: MAX_REPEATS * len(asked.intensities) for label in asked.weights}
    pairs = {label: sum(pair.label == label for pair in evidence) for label in asked.weights}
    if asked.neutral is not None and asked.neutral in asked.weights:
        ways[asked.neutral] = MAX_REPEATS * len(MANNERS)
        pairs[asked.neutral] = len({(pair.story_id, pair.section, pair.character) for pair in evidence})
    return {label: ways[label] * pairs[label] for label in asked.weights}


@FEW
@given(evidences(), wanted())
def test_counts_are_the_fill_of_the_weights(evidence, asked):
    plan = plan_utterances(evidence, asked)
    capacity = capacities(evidence, asked)
    given_rows = fill(asked.rows, asked.weights, capacity)
    counts = Counter(row.intended.label for row in plan.rows)
    assert {label: counts[label] for label in asked.weights} == given_rows
    assert set(counts) <= set(asked.weights)
    assert len(plan.rows) == min(asked.rows, sum(capacity.values()))
    assert all(counts[label] <= capacity[label] for label in asked.weights)
    missing = {label: share - counts[label] for label, share in share_out(asked.rows, asked.weights).items()}
    assert dict(plan.short) == {label: n for label, n in missing.items() if n > 0}
    assert sum(row.contextual for row in plan.rows) == min(asked.contextual_rows, len(plan.rows))


@FEW
@given(evidences(), wanted())
def test_no_pair_is_asked_too_often_and_each_row_has_its_evidence(evidence, asked):
    plan = plan_utterances(evidence, asked)
    known = {(pair.story_id, pair.section, pair.character, pair.label): pair for pair in evidence}
    speakers = {key[:3] for key in known}
    ways: Counter[tuple[object, ...]] = Counter()
    pairs: Counter[tuple[object, ...]] = Counter()
    for row in plan.rows:
        place = (row.story_id, row.section, row.character)
        if row.intended.label == asked.neutral:
            assert place in speakers
            assert row.manner in MANNERS
            assert (row.intended.intensity, row.intended.cause) == (None, "")
        else:
            assert row.intended.cause == known[*place, row.intended.label].cause
            assert row.manner is None
            assert row.intended.intensity in asked.intensities
        pairs[*place, row.intended.label] += 1
        ways[*place, row.intended.label, row.intended.intensity, row.manner] += 1
    assert all(count <= MAX_REPEATS for count in ways.values())
    for label in asked.weights:  # no pair is asked again before all others of its label were
        if label != asked.neutral:
            counts = [pairs[key] for key in known if key[3] == label]
            assert not counts or max(counts) - min(counts) <= 1


@FEW
@given(evidences(), wanted(), st.randoms(use_true_random=False))
def test_the_plan_is_a_function_of_the_set_of_evidence(evidence, asked, random):
    plan = plan_utterances(evidence, asked)
    shuffled = evidence[:]
    random.shuffle(shuffled)
    assert plan_utterances(shuffled, asked) == plan


@FEW
@given(evidences(), wanted())
def test_ids_and_seeds(evidence, asked):
    rows = plan_utterances(evidence, asked).rows
    for position, row in enumerate(rows):
        assert row.utterance_id == f"u-{position // asked.shard_rows:05d}-{position % asked.shard_rows:04d}"
        assert row.seed == row_seed(asked.seed, row.utterance_id)
        assert 0 <= row.seed < SEED_SPACE


@FEW
@given(st.integers(0, 100_000_000), st.dictionaries(st.text(max_size=3), WEIGHT, min_size=1, max_size=60))
def test_shares_sum_to_the_total_and_lie_next_to_their_weight(total, weights):
    shares = share_out(total, weights)
    assert list(shares) == list(weights)
    assert sum(shares.values()) == total
    whole = sum(weights.values())
    assert all(abs(shares[name] - total * weight / whole) < 1.001 for name, weight in weights.items())


@FEW
@given(st.integers(0, 1000), st.dictionaries(st.text(max_size=3), st.integers(1, 9), max_size=9))
def test_shares_do_not_depend_on_the_order_of_names(total, weights):
    assert share_out(total, weights) == share_out(total, dict(reversed(weights.items())))


@FEW
@given(
    st.integers(0, 1_000_000),
    st.dictionaries(st.text(max_size=3), st.tuples(WEIGHT, st.integers(0, 40_000)), max_size=40),
)
def test_a_fill_is_as_full_as_its_capacity_allows(total, names):
    weights = {name: weight for name, (weight, _) in names.items()}
    capacity = {name: room for name, (_, room) in names.items()}
    given_rows = fill(total, weights, capacity)
    assert set(given_rows) == set(weights)
    assert all(0 <= given_rows[name] <= capacity[name] for name in weights)
    assert sum(given_rows.values()) == min(total, sum(capacity.values()))
    first = share_out(total, weights)
    assert all(given_rows[name] >= min(first[name], capacity[name]) for name in weights)


@st.composite
def split_shares(draw: st.DrawFn) -> dict[Split, float]:
    train, validation, test = (draw(st.integers(low, 20)) for low in (1, 0, 0))
    whole = train + validation + test
    return {"train": train / whole, "validation": validation / whole, "test": test / whole}


@FEW
@given(st.lists(st.integers(0, 500), max_size=80), split_shares(), st.integers(0, SEED_SPACE - 1), st.data())
def test_splits_follow_their_shares_and_nothing_else(numbers, shares, seed, data):
    stories = [f"s-{number:012x}" for number in numbers]
    splits = assign_splits(stories, shares, seed=seed)
    assert set(splits) == set(stories)
    assert assign_splits(data.draw(st.permutations(stories)), shares, seed=seed) == splits
    counts = Counter(splits.values())
    asked = {split: share for split, share in shares.items() if share > 0}
    assert set(counts) <= set(asked)
    exact = {split: len(splits) * share for split, share in asked.items()}
    if len(splits) >= len(asked):
        assert set(counts) == set(asked)
    if all(quota >= 1 for quota in exact.values()):  # below, a split may get its one story from the largest
        assert all(abs(counts[split] - quota) < 1.001 for split, quota in exact.items())
