# SPDX-License-Identifier: Apache-2.0
"""Plans of dialogues: dealt out evenly, balanced over a whole run, each opening used once."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from generators.dialogues.domains import builtin_domains, first_names
from generators.dialogues.plans import Opening, Wanted, plan_dialogues
from generators.prompts import EXAMPLE_NAMES
from generators.trajectories.dynamics import fit_dynamics, target_of
from generators.trajectories.graphs import affect_graph
from validators.taxonomy import builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
LABELS = ("joy", "fear", "anger", "sadness", "neutral", "surprise")
DYNAMICS = fit_dynamics(affect_graph(TAXONOMY, LABELS), target_of(LABELS), lengths=[3, 4, 5], persistence=0.3)
OPENINGS = [
    Opening(
        utterance_id=f"u-00000-{n:04d}",
        story_id=f"s-{n % 5:012d}",
        speaker="Tova",
        listener="Aldo",
        label=LABELS[n % 3],
        intensity=1,
        split="test" if n % 5 == 0 else "train",
    )
    for n in range(20)
]


def wanted(**changes: Any) -> Wanted:
    given: dict[str, Any] = {
        "dynamics": DYNAMICS,
        "domains": builtin_domains()[:6],
        "pairs": (("writer", "writer"), ("writer", "second"), ("second", "writer")),
        "lengths": {3: 1.0, 4: 1.0, 5: 2.0},
        "from_stories": 0.5,
        "splits": {"train": 0.8, "test": 0.2},
        "neutral": "neutral",
        "seed": 7,
    }
    return Wanted(**(given | changes))


def plan(count: int, before: Any = (), first_shard: int = 0, **changes: Any) -> Any:
    return plan_dialogues(wanted(**changes), before, OPENINGS, count=count, first_shard=first_shard, shard_rows=4)


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 10))
def test_whatever_the_rounds_everything_is_dealt_evenly(counts: list[int], seed: int) -> None:
    before: list[Any] = []
    for number, count in enumerate(counts):
        rows = plan(count, before, first_shard=10 * number, seed=seed)
        assert len(rows) == count
        before += rows
    assert len({row.dialogue_id for row in before}) == len(before)
    openings = [row.utterance_id for row in before if row.utterance_id]
    assert len(set(openings)) == len(openings) <= len(OPENINGS)
    for cards in (Counter(row.domain for row in before if row.domain), Counter(row.writers for row in before)):
        assert max(cards.values()) - min(cards.values()) <= 1
    for row in before:
        assert (row.domain is None) == (row.utterance_id is not None) == (row.story_id is not None)
        assert [turn.speaker for turn in row.trajectory] == [n % 2 for n in range(len(row.trajectory))]
        assert all((turn.intensity is None) == (turn.label == "neutral") for turn in row.trajectory[1:])
        assert row.names[0] != row.names[1]
    for kind in (True, False):
        pairs = Counter(row.writers for row in before if (row.utterance_id is not None) == kind)
        every = [pairs[pair] for pair in wanted().pairs]
        assert max(every) - min(every) <= 1


def test_a_pair_of_writers_goes_with_no_kind_and_no_domain() -> None:
    rows = plan(20, pairs=(("writer", "writer"), ("writer", "second")), domains=builtin_domains()[:2])
    assert {(row.domain, row.writers) for row in rows} == {
        (domain, pair)
        for domain in (None, *(one.name for one in builtin_domains()[:2]))
        for pair in (("writer", "writer"), ("writer", "second"))
    }


def test_the_first_turn_is_that_of_the_utterance_and_the_split_that_of_its_story() -> None:
    known = {one.utterance_id: one for one in OPENINGS}
    grown = [row for row in plan(16) if row.utterance_id]
    assert len(grown) == 8
    for row in grown:
        opening = known[row.utterance_id]
        assert (row.trajectory[0].label, row.split, row.names) == (opening.label, opening.split, ("Tova", "Aldo"))
    # stories and labels take turns
    assert max(Counter(row.story_id for row in grown).values()) == 2
    assert max(Counter(row.trajectory[0].label for row in grown).values()) == 3


def test_lengths_have_their_weights() -> None:
    assert Counter(len(row.trajectory) for row in plan(16)) == {3: 4, 4: 4, 5: 8}


def test_plans_do_not_depend_on_anything_but_their_arguments() -> None:
    assert plan(12) == plan(12)
    assert plan(12) != plan(12, seed=8)


def test_emotions_are_balanced_over_rounds() -> None:
    before: list[Any] = []
    for number in range(10):
        before += plan(6, before, first_shard=2 * number, from_stories=0)
    turns = Counter(turn.label for row in before for turn in row.trajectory)
    assert max(turns.values()) - min(turns.values()) <= 0.35 * turns.total() / len(LABELS)


def test_names_are_of_nobody_in_the_prompts() -> None:
    assert len(set(first_names())) == len(first_names()) > 100
    assert not {name.lower() for name in first_names()} & set(EXAMPLE_NAMES)
