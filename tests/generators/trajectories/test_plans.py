# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.trajectories.dynamics import Dynamics, fit_dynamics, target_of
from generators.trajectories.graphs import affect_graph, builtin_graph
from generators.trajectories.plans import Balance, Trajectory, plan_trajectories
from validators.taxonomy import builtin_names, builtin_taxonomy

LENGTHS = tuple(3 + n % 8 for n in range(400))


def fitted(name: str, persistence: float = 0.4, shares: dict[str, float] | None = None) -> Dynamics:
    taxonomy = builtin_taxonomy(name.removesuffix("'s own"))
    graph = (
        builtin_graph("deepdialogue", taxonomy.names)
        if name.endswith("'s own")
        else affect_graph(taxonomy, taxonomy.names)
    )
    return fit_dynamics(graph, target_of(graph.labels, shares), lengths=LENGTHS, persistence=persistence)


def share_that_lasts(plans: Sequence[Trajectory]) -> float:
    pairs = [(one.label, after.label) for plan in plans for one, after in zip(plan.turns, plan.turns[2:], strict=False)]
    return sum(one == after for one, after in pairs) / len(pairs)


@pytest.mark.parametrize("name", ["deepdialogue's own", *builtin_names()])
def test_every_emotion_occurs_as_often_as_asked(name: str) -> None:
    dynamics = fitted(name)
    plans = plan_trajectories(dynamics, LENGTHS, seed=3)
    counts = Counter(turn.label for plan in plans for turn in plan.turns)
    wanted = sum(LENGTHS) / len(dynamics.labels)
    assert set(counts) == set(dynamics.labels)
    assert max(abs(count - wanted) for count in counts.values()) <= 6  # turns, of 2,600
    assert share_that_lasts(plans) == pytest.approx(0.4, abs=0.04)  # 2.5 standard errors


def test_a_small_run_is_balanced_too() -> None:
    plans = plan_trajectories(fitted("goemotions"), LENGTHS[:40], seed=5)
    counts = Counter(turn.label for plan in plans for turn in plan.turns)
    independent = plan_trajectories(fitted("goemotions"), LENGTHS[:40], seed=5, pull=0.0)
    by_chance = Counter(turn.label for plan in independent for turn in plan.turns)
    assert max(counts.values()) - min(counts.values()) < (max(by_chance.values()) - min(by_chance.values())) / 1.5


def test_shares_that_differ_are_met() -> None:
    names = builtin_taxonomy("goemotions").names
    shares = {name: 3.0 if name in {"joy", "anger"} else 1.0 for name in names}
    plans = plan_trajectories(fitted("goemotions", shares=shares), LENGTHS, seed=1)
    counts = Counter(turn.label for plan in plans for turn in plan.turns)
    assert counts["joy"] / counts.total() == pytest.approx(3 / 32, abs=0.01)
    assert counts["fear"] / counts.total() == pytest.approx(1 / 32, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 10), max_size=12), st.integers(0, 2**32 - 1))
def test_turns_alternate_and_each_has_its_reason(lengths: list[int], seed: int) -> None:
    dynamics = DEEP
    plans = plan_trajectories(dynamics, lengths, seed=seed)
    assert [len(plan.turns) for plan in plans] == lengths
    assert plans == plan_trajectories(dynamics, lengths, seed=seed)
    for plan in plans:
        assert [turn.speaker for turn in plan.turns] == [n % 2 for n in range(len(plan.turns))]
        for number, turn in enumerate(plan.turns):
            mine = plan.turns[number - 2].label if number > 1 else None
            other = plan.turns[number - 1].label if number else None
            assert (turn.reason == "start") == (number == 0)
            if turn.reason == "lasts":
                assert turn.label == mine
            if turn.reason == "caught":
                assert turn.label == other
            if turn.reason == "baseline":
                assert turn.label == plan.baselines[turn.speaker]
            if turn.reason in {"moves", "answers"}:
                start = mine if turn.reason == "moves" else other
                assert start is not None
                assert dynamics.own[dynamics.labels.index(start), dynamics.labels.index(turn.label)] > 0
                assert turn.label != start


DEEP = fitted("deepdialogue's own")


def test_a_given_start_is_the_first_emotion() -> None:
    plans = plan_trajectories(DEEP, [3, 3, 3], seed=1, starts=["bored", None])
    assert plans[0].turns[0].label == "bored"


def test_planned_in_parts_a_run_is_balanced_as_a_whole() -> None:
    balance = Balance()
    plans = [plan for part in range(8) for plan in plan_trajectories(DEEP, LENGTHS[:10], seed=part, balance=balance)]
    counts = Counter(turn.label for plan in plans for turn in plan.turns)
    assert counts == balance.turns
    assert max(counts.values()) - min(counts.values()) <= 8


def test_dialogues_of_one_speakers_turn_need_no_other() -> None:
    (plan,) = plan_trajectories(DEEP, [1], seed=1)
    assert plan.turns[0].reason == "start"
