# SPDX-License-Identifier: Apache-2.0
import random
from collections import Counter

import pytest

from generators.plans import (
    MANNERS,
    MAX_REPEATS,
    Plan,
    PlanSettings,
    assign_splits,
    fill,
    plan_utterances,
    row_seed,
    share_out,
)
from generators.utterances import MANNERS as MANNER_PROMPTS
from validators.records import Evidence, PlannedUtterance, Split

SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def pair(story: int, section: int = 0, character: str = "Ida", label: str = "joy", cause: str = "rain") -> Evidence:
    return Evidence(
        story_id=f"s-{story:012x}", section=section, character=character, label=label, cause=cause, origin="model"
    )


def asked(
    rows: int = 10,
    contextual_rows: int | None = None,
    weights: dict[str, float] | None = None,
    shard_rows: int = 64,
    seed: int = 7,
) -> PlanSettings:
    return PlanSettings(
        rows=rows,
        contextual_rows=rows if contextual_rows is None else contextual_rows,
        weights={"joy": 1.0} if weights is None else weights,
        neutral="neutral",
        intensities=(1, 2),
        shard_rows=shard_rows,
        seed=seed,
    )


def labels(plan: Plan) -> dict[str, int]:
    return dict(Counter(row.intended.label for row in plan.rows))


def what(row: PlannedUtterance) -> tuple[str, int, str, str, int | None, str | None]:
    return (
        row.story_id,
        row.section,
        row.character,
        row.intended.label,
        row.intended.intensity,
        row.manner,
    )


def test_labels_are_shared_by_weight():
    evidence = [pair(story, label=label) for story in range(20) for label in ("joy", "fear")]
    plan = plan_utterances(evidence, asked(rows=30, weights={"joy": 2.0, "fear": 1.0}))
    assert labels(plan) == {"joy": 20, "fear": 10}
    assert plan.short == {}


def test_a_label_without_evidence_leaves_its_rest_to_others_and_is_short():
    evidence = [pair(0, label="fear")] + [pair(story) for story in range(20)]
    plan = plan_utterances(evidence, asked(rows=30, weights={"joy": 1.0, "fear": 1.0, "awe": 1.0}))
    assert labels(plan) == {"joy": 24, "fear": 2 * MAX_REPEATS}
    assert plan.short == {"fear": 4, "awe": 10}


def test_what_nobody_can_take_is_not_planned():
    plan = plan_utterances([pair(0)], asked(rows=100))
    assert len(plan.rows) == 2 * MAX_REPEATS
    assert plan.short == {"joy": 100 - 2 * MAX_REPEATS}


def test_without_evidence_nothing_is_planned():
    plan = plan_utterances([], asked(rows=5, weights={"joy": 1.0, "neutral": 1.0}))
    assert plan == Plan((), {"joy": 3, "neutral": 2})


def test_labels_that_are_not_asked_for_are_not_planned():
    assert labels(plan_utterances([pair(0), pair(0, label="fear")], asked())) == {"joy": 6}


def test_neutral_rows_have_a_manner_and_no_intensity_and_others_the_reverse():
    evidence = [pair(story, label=label) for story in range(5) for label in ("joy", "fear")]
    plan = plan_utterances(evidence, asked(rows=40, weights={"joy": 1.0, "neutral": 1.0}))
    neutral = [row for row in plan.rows if row.intended.label == "neutral"]
    assert len(neutral) == 20
    assert Counter(row.manner for row in neutral) == dict.fromkeys(MANNERS, 5)
    assert {(row.intended.intensity, row.intended.cause) for row in neutral} == {(None, "")}
    others = [row for row in plan.rows if row.intended.label != "neutral"]
    assert Counter(row.intended.intensity for row in others) == {1: 10, 2: 10}
    assert {(row.manner, row.intended.cause) for row in others} == {(None, "rain")}


def test_a_speaker_with_many_pairs_counts_once_for_neutral():
    evidence = [pair(0, label=label) for label in ("joy", "fear", "awe")]
    plan = plan_utterances(evidence, asked(rows=100, weights={"neutral": 1.0}))
    assert len(plan.rows) == len(MANNERS) * MAX_REPEATS


def test_every_manner_has_words_in_the_prompt():
    assert set(MANNERS) == set(MANNER_PROMPTS)


def test_new_sections_go_before_used_ones():
    evidence = [pair(0, section, name) for section in range(5) for name in ("Ida", "Marek", "Tom")]
    plan = plan_utterances(evidence, asked(rows=5))
    assert sorted(row.section for row in plan.rows) == [0, 1, 2, 3, 4]


def test_rows_of_one_section_follow_each_other():
    evidence = [pair(story, section, name) for story in range(3) for section in range(3) for name in ("Ida", "Tom")]
    plan = plan_utterances(evidence, asked(rows=60))
    places = [(row.story_id, row.section) for row in plan.rows]
    assert places == sorted(places)


@pytest.mark.parametrize(("rows", "contextual"), [(10, 0), (10, 3), (10, 10), (7, 5), (1, 1), (12, 11)])
def test_as_many_rows_are_contextual_as_asked_for_and_they_lie_evenly(rows, contextual):
    plan = plan_utterances([pair(story) for story in range(20)], asked(rows=rows, contextual_rows=contextual))
    flags = [row.contextual for row in plan.rows]
    assert sum(flags) == contextual
    for end in range(rows + 1):
        assert sum(flags[:end]) == end * contextual // rows


def test_contextual_rows_are_bounded_by_the_rows_that_the_evidence_feeds():
    plan = plan_utterances([pair(0)], asked(rows=100, contextual_rows=50))
    assert [row.contextual for row in plan.rows] == [True] * 6


def test_ids_count_through_the_shards():
    plan = plan_utterances([pair(story) for story in range(3)], asked(rows=7, shard_rows=3))
    assert [row.utterance_id for row in plan.rows] == [
        "u-00000-0000",
        "u-00000-0001",
        "u-00000-0002",
        "u-00001-0000",
        "u-00001-0001",
        "u-00001-0002",
        "u-00002-0000",
    ]


def test_the_largest_shard_that_a_recipe_may_ask_for_can_be_planned():
    plan = plan_utterances([pair(story) for story in range(1700)], asked(rows=10_001, shard_rows=10_000))
    assert [row.utterance_id for row in plan.rows[-2:]] == ["u-00000-9999", "u-00001-0000"]


def test_seeds_are_in_range_differ_by_row_and_follow_the_runs_seed():
    plan = plan_utterances([pair(story) for story in range(400)], asked(rows=2000))
    seeds = [row.seed for row in plan.rows]
    assert len(set(seeds)) == len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [row_seed(7, row.utterance_id) for row in plan.rows]
    other = plan_utterances([pair(story) for story in range(400)], asked(rows=2000, seed=8))
    assert not set(seeds) & {row.seed for row in other.rows}


def test_the_seed_of_a_row_never_changes():
    assert row_seed(7, "u-00000-0000") == 660_569_596


def test_another_seed_chooses_other_pairs():
    evidence = [pair(story) for story in range(100)]
    chosen = {seed: {row.story_id for row in plan_utterances(evidence, asked(seed=seed)).rows} for seed in (1, 2)}
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
    settings = asked(rows=50, weights={"joy": 1.0, "fear": 2.0, "neutral": 1.0})
    plan = plan_utterances(evidence, settings)
    shuffled = evidence[:]
    random.Random(3).shuffle(shuffled)
    assert plan_utterances(shuffled, settings) == plan


# The same pair twice is no rarity: with `evidence: both` it can be given and found by the model, and two questions of
# FairytaleQA can ask for one feeling.
TWICE = [pair(0, cause="it was given"), pair(0, cause="the model found it")]


def test_a_pair_with_two_causes_gives_the_same_plan_in_any_order():
    assert plan_utterances(TWICE, asked(rows=1)) == plan_utterances(TWICE[::-1], asked(rows=1))


def test_a_pair_that_was_found_twice_is_planned_no_more_often():
    plan = plan_utterances(TWICE, asked(rows=100))
    assert max(Counter(map(what, plan.rows)).values()) == MAX_REPEATS


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


@pytest.mark.parametrize(
    ("total", "capacity", "given"),
    [
        (10, {"a": 10, "b": 10}, {"a": 5, "b": 5}),
        (10, {"a": 2, "b": 10}, {"a": 2, "b": 8}),
        (10, {"a": 0, "b": 3}, {"a": 0, "b": 3}),
        (0, {"a": 1, "b": 1}, {"a": 0, "b": 0}),
    ],
)
def test_fill(total, capacity, given):
    assert fill(total, {"a": 1.0, "b": 1.0}, capacity) == given


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
