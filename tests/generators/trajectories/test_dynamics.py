# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.trajectories.dynamics import Sources, fit_dynamics, fit_moves, target_of
from generators.trajectories.graphs import GraphDocument, TransitionGraph, affect_graph, builtin_graph, graph_of
from validators.errors import InputError
from validators.taxonomy import builtin_taxonomy

GOEMOTIONS = builtin_taxonomy("goemotions")
LENGTHS = (3, 5, 8)


def complete(n: int) -> TransitionGraph:
    return TransitionGraph(tuple("abcdefgh"[:n]), (1 - np.eye(n)) / (n - 1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1, 3), min_size=4, max_size=8), st.floats(0, 0.9))
def test_moves_keep_the_target_and_last_as_asked(shares: list[float], lasting: float) -> None:
    graph = complete(len(shares))
    target = np.array(shares) / np.sum(shares)
    moves = fit_moves(graph, target, np.full(len(shares), lasting))
    assert target @ moves == pytest.approx(target, abs=1e-6)
    assert moves.sum(axis=1) == pytest.approx(1)
    assert np.diag(moves) == pytest.approx(lasting)
    assert (moves >= 0).all()


@pytest.mark.parametrize("name", ["deepdialogue", "affect"])
def test_moves_stay_on_the_graph(name: str) -> None:
    taxonomy = builtin_taxonomy("deepdialogue")
    graph = builtin_graph(name, taxonomy.names) if name == "deepdialogue" else affect_graph(taxonomy, taxonomy.names)
    moves = fit_moves(graph, target_of(graph.labels), np.full(20, 0.3))
    off_graph = (graph.weights == 0) & ~np.eye(20, dtype=bool)
    assert (moves[off_graph] == 0).all()
    assert (moves[graph.weights > 0] > 0).all()


def test_of_all_moves_that_keep_the_target_the_graphs_own_are_kept_where_they_do() -> None:
    graph = complete(5)
    moves = fit_moves(graph, target_of(graph.labels), np.zeros(5))
    assert moves == pytest.approx(graph.weights, abs=1e-6)


def test_a_hub_that_cannot_carry_the_target_is_told_with_what_falls_short() -> None:
    document = GraphDocument(
        name="star", taxonomy="t", edges={"hub": ["a", "b", "c"], "a": ["hub"], "b": ["hub"], "c": ["hub"]}
    )
    graph = graph_of(document, ("hub", "a", "b", "c"))
    with pytest.raises(InputError, match="cannot carry the target") as told:
        fit_dynamics(graph, target_of(graph.labels), lengths=LENGTHS)
    assert "% of what is needed" in told.value.what
    half = target_of(graph.labels, {"hub": 3, "a": 1, "b": 1, "c": 1})
    assert fit_dynamics(graph, half, lengths=LENGTHS).persistence == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize(
    ("shares", "what"),
    [
        ({"joi": 1}, "'joi', which is no label"),
        (dict.fromkeys(GOEMOTIONS.names[:-1], 1.0), "no share is asked of neutral"),
        ({**dict.fromkeys(GOEMOTIONS.names, 1.0), "joy": 0}, "no share is asked of joy"),
    ],
)
def test_a_target_that_is_none_is_told(shares: dict[str, float], what: str) -> None:
    with pytest.raises(InputError, match=what):
        target_of(GOEMOTIONS.names, shares)


def test_shares_are_relative() -> None:
    assert target_of(("a", "b"), {"a": 3, "b": 1}).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("persistence", [0.2, 0.4, 0.6])
def test_the_persistence_asked_for_is_fitted_over_all_sources(persistence: float) -> None:
    graph = affect_graph(GOEMOTIONS, GOEMOTIONS.names)
    fitted = fit_dynamics(graph, target_of(graph.labels), lengths=LENGTHS, persistence=persistence)
    assert fitted.persistence == pytest.approx(persistence, abs=1e-4)
    assert fitted.own[0, 0] > persistence  # the other sources carry the speaker away


def test_a_persistence_that_the_sources_do_not_allow_is_told_with_what_they_do() -> None:
    graph = affect_graph(GOEMOTIONS, GOEMOTIONS.names)
    with pytest.raises(InputError, match=r"0\.9 cannot be had: these sources allow 0\.\d\d to 0\.\d\d"):
        fit_dynamics(graph, target_of(graph.labels), lengths=LENGTHS, persistence=0.9, sources=Sources(0.4, 0.2, 0.2))


def test_dialogues_without_a_second_turn_of_anyone_are_refused() -> None:
    graph = complete(4)
    with pytest.raises(InputError, match="second turn"):
        fit_dynamics(graph, target_of(graph.labels), lengths=[2, 2])
