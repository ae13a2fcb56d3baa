# SPDX-License-Identifier: Apache-2.0
"""How the planned emotions of dialogues are spread: python -m tests.benchmarks.bench_trajectories [--turns 200000]

For each taxonomy, with the graph made from valence and arousal, and for DeepDialogue's graph: the largest deviation of
an emotion's share from the target, how often an emotion lasts from one turn of a speaker to the next, and how long it
does. Beside it, DeepDialogue's own rule: the next emotion is drawn evenly from those that follow the other's last one.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from ruamel.yaml import YAML

from generators.trajectories.dynamics import fit_dynamics, target_of
from generators.trajectories.graphs import PRESETS, TransitionGraph, affect_graph, builtin_graph, builtin_graphs
from generators.trajectories.plans import plan_trajectories
from validators.taxonomy import builtin_names, builtin_taxonomy

LENGTHS = range(3, 11)
PERSISTENCE = 0.4


def main() -> None:
    """Print a line for each preset."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=200_000)
    turns = parser.parse_args().turns
    print(f"{turns} turns in dialogues of {LENGTHS[0]} to {LENGTHS[-1]}; target uniform, persistence {PERSISTENCE}")
    for name, graph in presets():
        lengths = lengths_of(turns)
        dynamics = fit_dynamics(graph, target_of(graph.labels), lengths=LENGTHS, persistence=PERSISTENCE)
        plans = plan_trajectories(dynamics, lengths, seed=7)
        report(name, graph.labels, [[turn.label for turn in plan.turns] for plan in plans])
    report("DeepDialogue's own rule", *own_rule(lengths_of(turns)))


def presets() -> Iterator[tuple[str, TransitionGraph]]:
    """All graphs that a user gets without giving one."""
    for name in builtin_graphs():
        yield f"graph {name}", builtin_graph(name, builtin_taxonomy(name).names)
    for name in builtin_names():
        taxonomy = builtin_taxonomy(name)
        yield f"valence and arousal, {name}", affect_graph(taxonomy, taxonomy.names)


def lengths_of(turns: int) -> list[int]:
    """Lengths, each as often as another, of that many turns at least."""
    return list(LENGTHS) * -(-turns // sum(LENGTHS))


def own_rule(lengths: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Walk as DeepDialogue does, on its edges alone and from any emotion that something leads to."""
    edges = YAML(typ="safe").load((PRESETS / "deepdialogue.yaml").read_text(encoding="utf-8"))["edges"]
    random = np.random.default_rng(7)
    starts = sorted({after for following in edges.values() for after in following})
    dialogues = []
    for length in lengths:
        walk = [str(random.choice(starts))]
        while len(walk) < length:
            walk.append(str(random.choice(edges[walk[-1]])))
        dialogues.append(walk)
    return sorted(edges), dialogues


def report(name: str, labels: Sequence[str], dialogues: Sequence[Sequence[str]]) -> None:
    """Print what came out."""
    counts = Counter(label for dialogue in dialogues for label in dialogue)
    shares = {label: counts[label] / counts.total() for label in labels}
    rarest, commonest = min(shares, key=lambda one: shares[one]), max(shares, key=lambda one: shares[one])
    speakers = [dialogue[start::2] for dialogue in dialogues for start in (0, 1)]
    steps = [one == after for turns in speakers for one, after in itertools.pairwise(turns)]
    runs = [len(list(run)) for turns in speakers for _, run in itertools.groupby(turns)]
    print(
        f"{name}: {sum(count > 0 for count in counts.values())} of {len(labels)} emotions occur; "
        f"largest deviation from the target {max(abs(s - 1 / len(labels)) for s in shares.values()):.4f} "
        f"(rarest {rarest} {shares[rarest]:.4f}, commonest {commonest} {shares[commonest]:.4f}); "
        f"lasts {np.mean(steps):.3f}; mean run {np.mean(runs):.2f} turns of a speaker"
    )


if __name__ == "__main__":
    main()
