# SPDX-License-Identifier: Apache-2.0
"""Whatever evidence there is and whatever is asked for, a plan keeps to its numbers."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generators.plans import MAX_REPEATS, plan_round
from generators.quotas import MANNERS, Quotas, Standing, missing_rows
from generators.shares import SEED_SPACE, assign_splits, share_out
from validators.records import Evidence, Intensity, PlannedUtterance, Split

FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("Ida", "Marek", "the fox")
LABELS = ("joy", "fear", "awe")
WEIGHT = st.floats(0.01, 1000)
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Rows = tuple[PlannedUtterance, ...]
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
def quotas(draw: st.DrawFn) -> Quotas:
    rows = draw(st.integers(1, 150))
    return Quotas(
        rows=rows,
        contextual_rows=draw(st.integers(0, rows)),
        weights=draw(st.dictionaries(st.sampled_from([*LABELS, "neutral"]), WEIGHT, min_size=1)),
        splits=draw(st.dictionaries(st.sampled_from(SPLITS), WEIGHT, min_size=1)),
        neutral=draw(st.sampled_from(["neutral", None])),
        intensities=draw(st.sampled_from(INTENSITIES)),
        tries=draw(st.integers(1, 5)),
    )


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[Evidence], dict[str, Split], Quotas, list[Rows], list[Standing]]:
    """Rounds to their end, with rows accepted by chance, and the standing after each."""
    evidence = draw(evidences())
    wanted = draw(quotas())
    stories = sorted({pair.story_id for pair in evidence})
    splits = {story: draw(st.sampled_from(sorted(wanted.splits))) for story in stories}
    chance = draw(st.randoms(use_true_random=False))
    share = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    shard_rows = draw(st.sampled_from([1, 7, 64]))
    seed = draw(st.integers(0, SEED_SPACE - 1))
    done: list[Rows] = []
    standings = [Standing()]
    shards = 0
    while rows := plan_round(
        evidence, splits, wanted, standings[-1], seed=seed, first_shard=shards, shard_rows=shard_rows
    ):
        shards += -(-len(rows) // shard_rows)
        done.append(rows)
        accepted = standings[-1].accepted | {row.utterance_id for row in rows if chance.random() < share}
        standings.append(Standing((*standings[-1].written, *rows), frozenset(accepted)))
    return evidence, splits, wanted, done, standings


@FEW
@given(rounds())
def test_no_label_gets_more_than_its_quota_nor_more_tries(run):
    _, _, wanted, done, standings = run
    for rows, before, after in zip(done, standings[:-1], standings[1:], strict=True):
        missing = missing_rows(wanted, before)
        planned = Counter(row.intended.label for row in rows)
        assert set(planned) <= set(wanted.weights)
        assert all(planned[label] <= missing[label] for label in planned)
        for label, target in wanted.targets.items():
            assert after.accepted_of(label).total() <= target
    written = Counter(row.intended.label for row in standings[-1].written)
    assert all(written[label] <= wanted.tries * target for label, target in wanted.targets.items())


@FEW
@given(rounds())
def test_rounds_end_only_where_nothing_is_missing_or_nothing_can_be_asked(run):
    evidence, _, wanted, _, standings = run
    end = standings[-1]
    ways: Counter[tuple[object, ...]] = Counter(
        (row.story_id, row.section, row.character, row.intended.label, row.intended.intensity, row.manner)
        for row in end.written
    )
    for label, missing in missing_rows(wanted, end).items():
        if missing:
            neutral = label == wanted.neutral
            manners: list[tuple[object, object]] = [(None, manner) for manner in MANNERS]
            kinds = manners if neutral else [(intensity, None) for intensity in wanted.intensities]
            pairs = {(p.story_id, p.section, p.character, label) for p in evidence if neutral or p.label == label}
            assert all(ways[(*pair, *kind)] == MAX_REPEATS for pair in pairs for kind in kinds)


@FEW
@given(rounds())
def test_each_row_has_its_evidence_its_split_and_an_id_of_its_own(run):
    evidence, splits, wanted, _, standings = run
    known = {(pair.story_id, pair.section, pair.character, pair.label): pair for pair in evidence}
    speakers = {key[:3] for key in known}
    written = standings[-1].written
    assert len({row.utterance_id for row in written}) == len(written)
    assert len({row.seed for row in written}) == len(written)
    for row in written:
        place = (row.story_id, row.section, row.character)
        assert row.split == splits[row.story_id]
        if row.intended.label == wanted.neutral:
            assert place in speakers
            assert row.manner in MANNERS
            assert (row.intended.intensity, row.intended.cause) == (None, "")
        else:
            assert row.intended.cause == known[*place, row.intended.label].cause
            assert row.manner is None
            assert row.intended.intensity in wanted.intensities


@FEW
@given(rounds(), st.randoms(use_true_random=False))
def test_a_round_is_a_function_of_the_set_of_evidence(run, chance):
    evidence, splits, wanted, _, _ = run
    shuffled = evidence[:]
    chance.shuffle(shuffled)
    plans = [
        plan_round(one, splits, wanted, Standing(), seed=3, first_shard=0, shard_rows=8) for one in (evidence, shuffled)
    ]
    assert plans[0] == plans[1]


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


@st.composite
def split_shares(draw: st.DrawFn) -> dict[Split, float]:
    train, validation, test = (draw(st.integers(low, 20)) for low in (1, 0, 0))
    whole = train + validation + test
    return {"train": train / whole, "validation": validation / whole, "test": test / whole}


@FEW
@given(st.sets(st.integers(0, 500), max_size=80), split_shares(), st.integers(0, SEED_SPACE - 1), st.data())
def test_settled_stories_stay_and_new_ones_fill_what_is_short(numbers, shares, seed, data):
    stories = sorted(f"s-{number:012x}" for number in numbers)
    old = data.draw(st.lists(st.sampled_from(stories), unique=True)) if stories else []
    settled = assign_splits(old, shares, seed=seed + 1)
    splits = assign_splits(stories, shares, seed=seed, settled={**settled, "s-elsewhere": "test"})
    assert set(splits) == set(stories)
    assert all(splits[story] == split for story, split in settled.items())
    # no split gets a new story as long as another lacks more of its share than it does
    counts, before = Counter(splits.values()), Counter(settled.values())
    exact = {split: len(stories) * share for split, share in shares.items() if share > 0}
    for split in counts.keys() - {split for split in counts if counts[split] == before[split]}:
        assert counts[split] <= max(exact[split] + 1, 1)


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
