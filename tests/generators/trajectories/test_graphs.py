# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from generators.trajectories.graphs import (
    GraphDocument,
    TransitionGraph,
    affect_graph,
    builtin_graph,
    builtin_graphs,
    graph_of,
)
from validators.errors import InputError
from validators.taxonomy import builtin_names, builtin_taxonomy


def document(**edges: list[str]) -> GraphDocument:
    return GraphDocument(name="mine", taxonomy="three", edges=edges)


def follows(graph: TransitionGraph, source: str) -> set[str]:
    row = graph.weights[graph.labels.index(source)]
    return {label for label, weight in zip(graph.labels, row, strict=True) if weight > 0}


def test_deepdialogues_graph_has_its_edges_and_those_that_lead_to_the_two_it_never_reached() -> None:
    labels = builtin_taxonomy("deepdialogue").names
    graph = builtin_graph("deepdialogue", labels)
    assert int((graph.weights > 0).sum()) == 105 + 9
    assert follows(graph, "angry") == {"frustrated", "disappointed", "surprised", "anxious", "worried"}
    assert "bored" in follows(graph, "relaxed")
    assert builtin_graphs() == ("deepdialogue",)


@pytest.mark.parametrize("name", builtin_names())
def test_a_graph_from_valence_and_arousal_joins_near_emotions(name: str) -> None:
    taxonomy = builtin_taxonomy(name)
    graph = affect_graph(taxonomy, taxonomy.names)
    linked = graph.weights > 0
    assert (linked == linked.T).all()
    assert (linked.sum(axis=1) >= 6).all()
    assert not linked.diagonal().any()
    valence = np.array([label.valence for label in taxonomy.labels])
    gaps = np.abs(valence[:, None] - valence[None])
    assert gaps[linked].mean() < gaps.mean() / 2


def test_the_same_emotion_twice_is_no_edge() -> None:
    graph = graph_of(document(a=["a", "b"], b=["a"]), ("a", "b"))
    assert graph.weights.tolist() == [[0, 1], [1, 0]]


def test_a_label_that_the_taxonomy_lacks_is_told_with_the_closest() -> None:
    with pytest.raises(InputError, match="'jou'") as told:
        graph_of(document(joy=["anger"], anger=["jou"]), ("joy", "anger"))
    assert "Did you mean 'joy'" in str(told.value)
    assert "anger in graph mine" in told.value.where


@pytest.mark.parametrize(
    "edges",
    [
        {"joy": ["anger"], "anger": ["joy"], "fear": ["joy"]},  # nothing leads there
        {"joy": ["anger", "fear"], "anger": ["joy"]},  # nothing leads away
    ],
)
def test_an_emotion_that_cannot_be_reached_and_left_is_named(edges: dict[str, list[str]]) -> None:
    with pytest.raises(InputError, match=r"reach and leave every emotion: fear\n"):
        graph_of(document(**edges), ("joy", "anger", "fear"))
