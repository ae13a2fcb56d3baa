# SPDX-License-Identifier: Apache-2.0
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from generators.plans import MAX_REPEATS, ROUND_ROWS, PairKey, plan_round
from generators.quotas import MANNERS, Quotas, Standing, missing_rows
from generators.shares import assign_splits, row_seed, share_out
from generators.utterances import MANNERS as MANNER_PROMPTS
from validators.records import Evidence, PlannedUtterance, Split

SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
Rows = tuple[PlannedUtterance, ...]


def pair(story: int, section: int = 0, character: str = "Ida", label: str = "joy", cause: str = "rain") -> Evidence:
    return Evidence(
        story_id=f"s-{story:012x}", section=section, character=character, label=label, cause=cause, origin="model"
    )


def wanted(
    rows: int = 10,
    contextual_rows: int | None = None,
    weights: dict[str, float] | None = None,
    splits: dict[Split, float] | None = None,
    tries: int = 4,
) -> Quotas:
    return Quotas(
        rows=rows,
        contextual_rows=rows if contextual_rows is None else contextual_rows,
        weights={"joy": 1.0} if weights is None else weights,
        splits={"train": 1.0} if splits is None else splits,
        neutral="neutral",
        intensities=(1, 2),
        tries=tries,
    )


def plan(
    evidence: list[Evidence],
    quotas: Quotas,
    standing: Standing | None = None,
    splits: dict[str, Split] | None = None,
    seed: int = 7,
    first_shard: int = 0,
    shard_rows: int = 64,
    earlier: Sequence[PairKey] = (),
) -> Rows:
    every: dict[str, Split] = {one.story_id: "train" for one in evidence}
    return plan_round(
        evidence,
        every if splits is None else splits,
        quotas,
        standing or Standing(),
        seed=seed,
        first_shard=first_shard,
        shard_rows=shard_rows,
        earlier=earlier,
    )


def after(*rounds: Rows, accepted: Iterable[PlannedUtterance] | None = None) -> Standing:
    written = tuple(row for rows in rounds for row in rows)
    return Standing(written, frozenset(row.utterance_id for row in (written if accepted is None else accepted)))


def labels(rows: Rows) -> dict[str, int]:
    return dict(Counter(row.intended.label for row in rows))


def what(row: PlannedUtterance) -> tuple[str, int, str, str, int | None, str | None]:
    return (row.story_id, row.section, row.character, row.intended.label, row.intended.intensity, row.manner)


def test_labels_are_shared_by_weight():
    evidence = [pair(story, label=label) for story in range(20) for label in ("joy", "fear")]
    assert labels(plan(evidence, wanted(rows=30, weights={"joy": 2.0, "fear": 1.0}))) == {"joy": 20, "fear": 10}


def test_a_label_without_evidence_is_not_made_up_for_by_others():
    evidence = [pair(0, label="fear")] + [pair(story) for story in range(20)]
    rows = plan(evidence, wanted(rows=30, weights={"joy": 1.0, "fear": 1.0, "awe": 1.0}))
    assert labels(rows) == {"joy": 10, "fear": 2 * MAX_REPEATS}


def test_the_next_round_asks_for_what_is_missing_and_no_more():
    evidence = [pair(story, label=label) for story in range(30) for label in ("joy", "fear")]
    quotas = wanted(rows=30, weights={"joy": 2.0, "fear": 1.0})
    first = plan(evidence, quotas)
    accepted = [row for row in first if row.intended.label == "fear"] + [
        row for row in first if row.intended.label == "joy"
    ][:13]
    second = plan(evidence, quotas, after(first, accepted=accepted), first_shard=1)
    assert labels(second) == {"joy": 7}
    assert plan(evidence, quotas, after(first, second, accepted=[*accepted, *second]), first_shard=2) == ()


def test_pairs_that_were_not_asked_yet_go_before_those_that_failed():
    evidence = [pair(story) for story in range(20)]
    first = plan(evidence, wanted(rows=8))
    second = plan(evidence, wanted(rows=8), after(first, accepted=[]), first_shard=1)
    assert not {what(row)[:4] for row in first} & {what(row)[:4] for row in second}


def test_a_cell_gets_what_it_lacks():
    evidence = [pair(story) for story in range(40)]
    first = plan(evidence, wanted(rows=20))
    assert Counter(row.intended.intensity for row in first) == {1: 10, 2: 10}
    mild = [row for row in first if row.intended.intensity == 1]
    second = plan(evidence, wanted(rows=20), after(first, accepted=mild), first_shard=1)
    assert [row.intended.intensity for row in second] == [2] * 10


def test_splits_have_targets_of_their_own_and_keep_to_their_stories():
    splits: dict[str, Split] = {
        f"s-{story:012x}": "train" if story < 6 else "validation" if story < 9 else "test" for story in range(12)
    }
    evidence = [pair(story, section) for story in range(12) for section in range(3)]
    rows = plan(evidence, wanted(rows=20, splits=SHARES), splits=splits)
    assert Counter(row.split for row in rows) == {"train": 16, "validation": 2, "test": 2}
    assert all(splits[row.story_id] == row.split for row in rows)


def test_what_a_split_has_no_evidence_for_goes_to_the_labels_other_splits():
    rows = plan([pair(story) for story in range(20)], wanted(rows=10, splits=SHARES))
    assert Counter(row.split for row in rows) == {"train": 10}


def test_a_label_is_given_up_after_so_many_tries():
    evidence = [pair(story) for story in range(100)]
    quotas = wanted(rows=5, tries=3)
    rounds: list[Rows] = []
    while rows := plan(evidence, quotas, after(*rounds, accepted=[]), first_shard=len(rounds)):
        rounds.append(rows)
    assert [len(rows) for rows in rounds] == [5, 5, 5]
    assert missing_rows(quotas, after(*rounds, accepted=[])) == {"joy": 0}


def test_much_is_planned_by_halves():
    evidence = [pair(story) for story in range(400)]
    assert len(plan(evidence, wanted(rows=ROUND_ROWS))) == ROUND_ROWS
    assert len(plan(evidence, wanted(rows=2 * ROUND_ROWS))) == ROUND_ROWS


def test_worn_out_openings_reach_the_rows_of_their_label():
    evidence = [pair(story, label=label) for story in range(5) for label in ("joy", "fear")]
    standing = Standing(worn={"joy": ("I am so",)})
    rows = plan(evidence, wanted(rows=10, weights={"joy": 1.0, "fear": 1.0}), standing)
    assert {(row.intended.label, row.avoid) for row in rows} == {("joy", ("I am so",)), ("fear", ())}


def test_what_nobody_can_feed_is_not_planned():
    assert len(plan([pair(0)], wanted(rows=60))) == 2 * MAX_REPEATS
    assert plan([], wanted(rows=5, weights={"joy": 1.0, "neutral": 1.0})) == ()


def test_labels_that_are_not_asked_for_are_not_planned():
    assert labels(plan([pair(0), pair(0, label="fear")], wanted())) == {"joy": 6}


def test_neutral_rows_have_a_manner_and_no_intensity_and_others_the_reverse():
    evidence = [pair(story, label=label) for story in range(5) for label in ("joy", "fear")]
    rows = plan(evidence, wanted(rows=40, weights={"joy": 1.0, "neutral": 1.0}))
    neutral = [row for row in rows if row.intended.label == "neutral"]
    assert Counter(row.manner for row in neutral) == dict.fromkeys(MANNERS, 5)
    assert {(row.intended.intensity, row.intended.cause) for row in neutral} == {(None, "")}
    others = [row for row in rows if row.intended.label != "neutral"]
    assert Counter(row.intended.intensity for row in others) == {1: 10, 2: 10}
    assert {(row.manner, row.intended.cause) for row in others} == {(None, "rain")}


def test_a_speaker_with_many_pairs_counts_once_for_neutral():
    evidence = [pair(0, label=label) for label in ("joy", "fear", "awe")]
    assert len(plan(evidence, wanted(rows=60, weights={"neutral": 1.0}))) == len(MANNERS) * MAX_REPEATS


def test_every_manner_has_words_in_the_prompt():
    assert set(MANNERS) == set(MANNER_PROMPTS)


def test_new_sections_go_before_used_ones():
    evidence = [pair(0, section, name) for section in range(5) for name in ("Ida", "Marek", "Tom")]
    assert sorted(row.section for row in plan(evidence, wanted(rows=5))) == [0, 1, 2, 3, 4]


def test_what_earlier_versions_were_asked_from_comes_last_and_is_not_used_up():
    evidence = [pair(1, section) for section in range(6)]
    used: list[PairKey] = [(one.story_id, one.section, one.character, one.label) for one in evidence[:4]] * 9
    rows = plan(evidence, wanted(rows=2), earlier=used)
    assert {row.section for row in rows} == {4, 5}
    assert {row.section for row in plan(evidence, wanted(rows=20), earlier=used)} == set(range(6))


def test_rows_of_one_section_follow_each_other():
    evidence = [pair(story, section, name) for story in range(3) for section in range(3) for name in ("Ida", "Tom")]
    places = [(row.story_id, row.section) for row in plan(evidence, wanted(rows=60))]
    assert places == sorted(places)


@pytest.mark.parametrize(("rows", "contextual"), [(10, 0), (10, 3), (10, 10), (7, 5), (1, 1), (12, 11)])
def test_as_many_rows_are_contextual_as_asked_for_and_they_lie_evenly(rows, contextual):
    flags = [row.contextual for row in plan([pair(story) for story in range(20)], wanted(rows, contextual))]
    assert sum(flags) == contextual
    for end in range(rows + 1):
        assert sum(flags[:end]) == end * contextual // rows


def test_a_later_round_makes_up_for_contexts_that_were_lost():
    evidence = [pair(story) for story in range(40)]
    first = plan(evidence, wanted(rows=20, contextual_rows=10))
    standing = Standing(first, frozenset(row.utterance_id for row in first[:12]), contextual=2)
    second = plan(evidence, wanted(rows=20, contextual_rows=10), standing, first_shard=1)
    assert [row.contextual for row in second] == [True] * 8


def test_ids_count_through_the_shards():
    rows = plan([pair(story) for story in range(3)], wanted(rows=7), first_shard=4, shard_rows=3)
    assert [row.utterance_id for row in rows] == [
        "u-00004-0000",
        "u-00004-0001",
        "u-00004-0002",
        "u-00005-0000",
        "u-00005-0001",
        "u-00005-0002",
        "u-00006-0000",
    ]


def test_seeds_are_in_range_differ_by_row_and_follow_the_runs_seed():
    evidence = [pair(story) for story in range(400)]
    seeds = [row.seed for row in plan(evidence, wanted(rows=2000))]
    assert len(set(seeds)) == len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not set(seeds) & {row.seed for row in plan(evidence, wanted(rows=2000), seed=8)}


def test_the_seed_of_a_row_never_changes():
    assert row_seed(7, "u-00000-0000") == 660_569_596


def test_another_seed_chooses_other_pairs():
    evidence = [pair(story) for story in range(100)]
    chosen = {seed: {row.story_id for row in plan(evidence, wanted(), seed=seed)} for seed in (1, 2)}
    assert len(chosen[1]) == len(chosen[2]) == 10
    assert chosen[1] != chosen[2]


def test_the_plan_does_not_depend_on_the_order_of_the_evidence():
    evidence = [
        pair(story, section, name, label)
        for story in range(4)
        for section in range(3)
        for name in ("Ida", "Tom")
        for label in ("joy", "fear")
    ]
    quotas = wanted(rows=50, weights={"joy": 1.0, "fear": 2.0, "neutral": 1.0})
    shuffled = evidence[:]
    random.Random(3).shuffle(shuffled)
    assert plan(shuffled, quotas) == plan(evidence, quotas)


# The same pair twice is no rarity: with `evidence: both` it can be given and found by the model, and two questions of
# FairytaleQA can ask for one feeling.
TWICE = [pair(0, cause="it was given"), pair(0, cause="the model found it")]


def test_a_pair_with_two_causes_gives_the_same_plan_in_any_order():
    assert plan(TWICE, wanted(rows=1)) == plan(TWICE[::-1], wanted(rows=1))


def test_a_pair_that_was_found_twice_is_planned_no_more_often():
    assert max(Counter(map(what, plan(TWICE, wanted(rows=60)))).values()) == MAX_REPEATS


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, {"a": 1.0, "b": 1.0}, {"a": 5, "b": 5}),
        (3, {"a": 1.0, "b": 1.0}, {"a": 2, "b": 1}),  # ties by name
        (3, {"b": 1.0, "a": 1.0}, {"a": 2, "b": 1}),
        (10, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 7, "b": 2, "c": 1}),
        (1, {"a": 1.0, "b": 5.0}, {"a": 0, "b": 1}),
        (0, {"a": 1.0}, {"a": 0}),
        (5, {}, {}),
    ],
)
def test_share_out(total, weights, shares):
    assert share_out(total, weights) == shares


def test_stories_are_split_by_share():
    splits = assign_splits([f"s-{story:012x}" for story in range(100)], SHARES, seed=7)
    assert Counter(splits.values()) == {"train": 80, "validation": 10, "test": 10}


@pytest.mark.parametrize(
    ("n_stories", "counts"),
    [
        (0, {}),
        (1, {"train": 1}),
        (2, {"train": 2}),
        (3, {"train": 1, "validation": 1, "test": 1}),
        (4, {"train": 2, "validation": 1, "test": 1}),
        (12, {"train": 10, "validation": 1, "test": 1}),
    ],
)
def test_small_splits_are_not_empty_if_there_are_enough_stories(n_stories, counts):
    assert Counter(assign_splits([f"s-{n}" for n in range(n_stories)], SHARES, seed=7).values()) == counts


def test_a_split_without_a_share_gets_no_story():
    shares: dict[Split, float] = {"train": 0.9, "validation": 0.0, "test": 0.1}
    assert set(assign_splits([f"s-{n}" for n in range(10)], shares, seed=7).values()) == {"train", "test"}


def test_another_seed_splits_otherwise():
    stories = [f"s-{n}" for n in range(50)]
    assert assign_splits(stories, SHARES, seed=1) != assign_splits(stories, SHARES, seed=2)
