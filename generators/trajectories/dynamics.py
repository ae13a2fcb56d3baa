# SPDX-License-Identifier: Apache-2.0
"""How emotions move in a dialogue of two: a Markov model whose long-run shares are those that were asked for.

What a speaker feels next comes from one of four sources, chosen anew at each turn:

- **own**: what they felt at their last turn lasts, or moves along the transition graph;
- **contagion**: what the other has just expressed is caught, or answered along the graph;
- **baseline**: they return to the emotion that their persona tends to;
- **event**: something happens.

Each source by itself keeps the target distribution: the two moves along the graph are fitted to do so, baselines and
events are drawn from it. So any mixture of them keeps it too, in every turn and not only in the long run, and how often
an emotion lasts can be set apart from how often it occurs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.trajectories.graphs import TransitionGraph
from validators.errors import InputError
from validators.problems import did_you_mean

Floats = NDArray[np.float64]

CAUGHT = 0.4  # of contagion: how often the very emotion of the other is caught, not answered
MOST_LASTING = 0.98


@dataclass(frozen=True, slots=True)
class Sources:
    """How often each source decides what a speaker feels; what is left is the speaker's own course."""

    contagion: float = 0.2
    baseline: float = 0.1
    event: float = 0.1

    @property
    def own(self) -> float:
        """The share of the speaker's own course."""
        return 1 - self.contagion - self.baseline - self.event


@dataclass(frozen=True, eq=False)
class Dynamics:
    """The fitted model. Matrices have shape (labels, labels): the row is what was felt, the column what comes next."""

    labels: tuple[str, ...]
    target: Floats
    own: Floats
    contagion: Floats
    sources: Sources
    persistence: float
    """Probability that a speaker feels at a turn what they felt at their last one, in dialogues as fitted for."""


def target_of(labels: Sequence[str], shares: Mapping[str, float] | None = None) -> Floats:
    """Turn wanted shares into a distribution over labels; uniform where none are given.

    Raises InputError for an unknown label, one that is left out, and a share that is not positive.
    """
    if shares is None:
        return np.full(len(labels), 1 / len(labels))
    for label in shares:
        if label not in labels:
            raise InputError(
                f"a share is asked of '{label}', which is no label",
                where="target",
                next_step=did_you_mean(label, labels),
            )
    without = [label for label in labels if shares.get(label, 0) <= 0]
    if without:
        raise InputError(
            f"no share is asked of {', '.join(without)}",
            where="target",
            next_step="give each label a share above 0, or leave it out of the labels",
        )
    target = np.array([shares[label] for label in labels])
    return np.asarray(target / target.sum())


def fit_dynamics(
    graph: TransitionGraph,
    target: Floats,
    *,
    lengths: Sequence[int],
    persistence: float = 0.4,
    sources: Sources | None = None,
) -> Dynamics:
    """Fit the model: `target` has shape (labels,) and is kept, `persistence` is reached over all sources together.

    `lengths` are those of the dialogues, in turns, as often as they occur; a start is no course yet, so they matter.

    Raises InputError where the graph cannot carry the target, or where the sources alone leave no way to the
    persistence.
    """
    from scipy.optimize import brentq  # type: ignore[import-untyped]

    sources = sources or Sources()
    contagion = fit_moves(graph, target, np.full(len(target), CAUGHT))

    def model(lasting: float) -> Dynamics:
        own = fit_moves(graph, target, np.full(len(target), lasting))
        return Dynamics(graph.labels, target, own, contagion, sources, 0.0)

    if max(lengths, default=0) < 3:
        raise InputError(
            "no speaker has a second turn, so nothing can last",
            where="lengths",
            next_step="ask for dialogues of at least 3 turns",
        )
    low, high = (persistence_of(model(lasting), lengths) for lasting in (0.0, MOST_LASTING))
    if not low <= persistence <= high:
        raise InputError(
            f"a persistence of {persistence} cannot be had: these sources allow {low:.2f} to {high:.2f}",
            where="persistence",
            next_step="ask for one in between, or let contagion, baseline and events decide more or less often",
        )
    lasting = brentq(lambda own: persistence_of(model(own), lengths) - persistence, 0.0, MOST_LASTING, xtol=1e-6)
    fitted = model(lasting)
    return Dynamics(graph.labels, target, fitted.own, contagion, sources, persistence_of(fitted, lengths))


def fit_moves(graph: TransitionGraph, target: Floats, lasting: Floats) -> Floats:
    """Find the transition matrix that keeps `target`, stays on the graph and lasts as asked, closest to the graph's.

    `lasting` has shape (labels,): the diagonal. Closest in relative entropy: of all flows with the wanted margins it is
    the one that assumes least beyond the graph (Sinkhorn 1967; Cuturi 2013); its dual is smooth and convex. That such
    a flow exists at all is a linear program, solved first.
    """
    from scipy.optimize import minimize

    flow = target * (1 - lasting)
    prior = graph.weights * target[:, None]
    prior *= flow.sum() / prior.sum()
    _check_feasible(graph, flow, prior)
    n = len(target)

    def dual(potentials: Floats) -> tuple[float, Floats]:
        moved = prior * np.exp(potentials[:n, None] + potentials[None, n:])
        value = moved.sum() - potentials[:n] @ flow - potentials[n:] @ flow
        return float(value), np.concatenate([moved.sum(axis=1) - flow, moved.sum(axis=0) - flow])

    found = minimize(
        dual, np.zeros(2 * n), jac=True, method="L-BFGS-B", options={"maxiter": 20_000, "ftol": 0, "gtol": 1e-10}
    )
    moved = prior * np.exp(found.x[:n, None] + found.x[None, n:])
    moves: Floats = moved / moved.sum(axis=1, keepdims=True) * (1 - lasting)[:, None] + np.diag(lasting)
    return moves


def _check_feasible(graph: TransitionGraph, flow: Floats, prior: Floats) -> None:
    """Raise InputError unless the graph can carry `flow` from and to each label."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack  # type: ignore[import-untyped]

    sources, ends = np.nonzero(prior)
    edges = np.arange(len(sources))
    n = len(flow)
    leaves = csr_array((np.ones(len(edges)), (sources, edges)), shape=(n, len(edges)))
    enters = csr_array((np.ones(len(edges)), (ends, edges)), shape=(n, len(edges)))
    # maximise what can be carried: it must be all
    solved = linprog(-np.ones(len(edges)), A_ub=vstack([leaves, enters]), b_ub=np.concatenate([flow, flow]))
    carried = np.minimum(leaves @ solved.x, enters @ solved.x)
    short = [
        (label, have, want) for label, have, want in zip(graph.labels, carried, flow, strict=True) if want - have > 1e-7
    ]
    if short:
        raise InputError(
            "the transition graph cannot carry the target: too little can lead to or from "
            + ", ".join(f"{label} ({have / want:.0%} of what is needed)" for label, have, want in short),
            where="target",
            next_step="add edges around these labels, ask for less of them, or let emotions last longer",
        )


def persistence_of(dynamics: Dynamics, lengths: Sequence[int]) -> float:
    """The probability that a speaker feels what they felt at their last turn, exactly, over dialogues of these lengths.

    Followed from the first turn are the joint distributions of the last emotions of both speakers, and of each
    speaker's baseline with their own last emotion and with the other's. 0 where nobody has a second turn.
    """
    sources, target = dynamics.sources, dynamics.target
    independent = np.outer(target, target)
    anything = sources.event * independent
    tending = sources.own + sources.baseline  # who has not spoken yet begins as they tend to be
    # rows: an emotion; columns: a baseline. The first speaker began by chance, the second has answered.
    own_last = [independent, sources.contagion * independent + tending * np.diag(target) + anything]
    other_last = [independent, independent]
    pair = sources.contagion * target[:, None] * dynamics.contagion + (tending + sources.event) * independent
    lasting = turns = 0.0
    for number in range(2, max(lengths)):
        me, other = number % 2, 1 - number % 2
        chance = (
            sources.own * float(pair.sum(axis=1) @ np.diag(dynamics.own))
            + sources.contagion * float((pair.T * dynamics.contagion).sum())
            + sources.baseline * float(np.trace(own_last[me]))
            + sources.event * float(target @ target)
        )
        still_going = sum(length > number for length in lengths)
        lasting, turns = lasting + chance * still_going, turns + still_going
        # then the other is the one to speak: their last emotion, mine
        pair = (
            sources.own * pair.T @ dynamics.own
            + sources.contagion * pair.sum(axis=0)[:, None] * dynamics.contagion
            + sources.baseline * other_last[me]
            + anything
        )
        after = (
            sources.own * dynamics.own.T @ own_last[me]
            + sources.contagion * dynamics.contagion.T @ other_last[me]
            + sources.baseline * np.diag(target)
            + anything
        )
        other_last[other] = (
            sources.own * dynamics.own.T @ other_last[other]
            + sources.contagion * dynamics.contagion.T @ own_last[other]
            + sources.baseline * independent
            + anything
        )
        own_last[me] = after
    return lasting / turns if turns else 0.0
