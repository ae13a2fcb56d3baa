# SPDX-License-Identifier: Apache-2.0
"""Which emotions may follow which: graphs that come with the package, a user's own, and one made from a taxonomy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from ruamel.yaml import YAML

from validators.errors import InputError
from validators.problems import did_you_mean
from validators.records import Record
from validators.taxonomy import Taxonomy

Floats = NDArray[np.float64]

PRESETS = files("generators.trajectories") / "presets"
NEIGHBOURS = 6  # DeepDialogue's graph has 5.25 edges from an emotion
AFFECT_WIDTH = 0.25  # how far a step usually goes, where valence and arousal both run from 0 to 1


class GraphDocument(Record):
    """A transition graph as a file gives it: from each label to those that may follow it."""

    name: str
    taxonomy: str
    edges: Annotated[dict[str, list[str]], Field(min_length=2)]
    added: dict[str, list[str]] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TransitionGraph:
    """Which emotion may follow which.

    `weights` has shape (labels, labels): how readily the column follows the row, 0 where it never does. The diagonal is
    0; that an emotion lasts is up to the dynamics.
    """

    labels: tuple[str, ...]
    weights: Floats

    def __post_init__(self) -> None:
        """Check that every emotion can be reached from every other; raises InputError that names those that cannot."""
        from scipy.sparse import csr_array  # type: ignore[import-untyped]
        from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

        count, part = connected_components(csr_array(self.weights), directed=True, connection="strong")
        if count > 1:
            largest = np.bincount(part).argmax()
            cut_off = [label for label, one in zip(self.labels, part, strict=True) if one != largest]
            raise InputError(
                f"the transition graph cannot reach and leave every emotion: {', '.join(cut_off)}",
                where="edges",
                next_step="add an edge to and from each of these, or leave them out of the labels",
            )


def builtin_graph(name: str, labels: Sequence[str]) -> TransitionGraph:
    """Read a graph that comes with the package."""
    text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    return graph_of(GraphDocument.model_validate(YAML(typ="safe").load(text)), labels)


def graph_of(document: GraphDocument, labels: Sequence[str]) -> TransitionGraph:
    """Turn a document into a graph over `labels`, each edge of a label equally ready.

    Raises InputError for a label that the taxonomy does not have and for emotions that cannot be reached.
    """
    place = {label: index for index, label in enumerate(labels)}
    weights = np.zeros((len(labels), len(labels)))
    for source, target in _edges(document):
        for label in (source, target):
            if label not in place:
                raise InputError(
                    f"the transition graph names '{label}', which the taxonomy does not have",
                    where=f"edges of {source} in graph {document.name}",
                    next_step=did_you_mean(label, labels),
                )
        if source != target:
            weights[place[source], place[target]] = 1.0
    return TransitionGraph(tuple(labels), weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0))


def affect_graph(taxonomy: Taxonomy, labels: Sequence[str], *, neighbours: int = NEIGHBOURS) -> TransitionGraph:
    """Make a graph from valence and arousal: each emotion leads to those nearest to it, and they to it.

    Readiness falls with the distance as a Gaussian of width `AFFECT_WIDTH`: neighbours in the affective circumplex
    (Russell 1980) follow each other more often than opposites (Thornton and Tamir 2017, people's mental model of
    transitions). A minimum spanning tree over the distances keeps the graph whole.
    """
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    known = {label.name: label for label in taxonomy.labels}
    points = np.array([((known[name].valence + 1) / 2, known[name].arousal) for name in labels])
    distances: Floats = cdist(points, points)
    far = distances + np.diag(np.full(len(labels), np.inf))
    nearest = np.argsort(far, axis=1, kind="stable")[:, : min(neighbours, len(labels) - 1)]
    linked = np.zeros(distances.shape, dtype=bool)
    np.put_along_axis(linked, nearest, values=True, axis=1)
    # a distance of 0 would be no edge to scipy
    linked |= minimum_spanning_tree(distances + 1e-9).toarray() > 0
    linked |= linked.T
    np.fill_diagonal(linked, val=False)
    weights = np.where(linked, np.exp(-((distances / AFFECT_WIDTH) ** 2) / 2), 0.0)
    return TransitionGraph(tuple(labels), weights / weights.sum(axis=1, keepdims=True))


def builtin_graphs() -> tuple[str, ...]:
    """Names of the graphs that come with the package."""
    return tuple(sorted(Path(one.name).stem for one in PRESETS.iterdir() if one.name.endswith(".yaml")))


def _edges(document: GraphDocument) -> Iterable[tuple[str, str]]:
    parts: tuple[Mapping[str, Sequence[str]], ...] = (document.edges, document.added)
    return ((source, target) for part in parts for source, targets in part.items() for target in targets)
