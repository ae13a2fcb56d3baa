# SPDX-License-Identifier: Apache-2.0
"""What the dialogues of a recipe are to be like: dynamics, domains, and the utterances that they can grow from."""

from collections.abc import Sequence

from flows.dialogue_role import Dialogues
from flows.recipe import Recipe
from flows.strict_yaml import load_strict
from generators.dialogues.domains import Domain, builtin_domains
from generators.dialogues.plans import Opening, Wanted
from generators.trajectories.dynamics import Dynamics, Sources, fit_dynamics, target_of
from generators.trajectories.graphs import (
    GraphDocument,
    TransitionGraph,
    affect_graph,
    builtin_graph,
    builtin_graphs,
    graph_of,
)
from validators.gates import TITLES, split_words
from validators.problems import did_you_mean
from validators.records import Evidence, Split, Utterance
from validators.taxonomy import Taxonomy

LENGTH_STEPS = 100  # the weights of lengths, as so many dialogues, to fit the dynamics for


def wanted_of(recipe: Recipe, role: Dialogues, taxonomy: Taxonomy) -> Wanted:
    """What the dialogues of a recipe are to be like; raises InputError with the line of what cannot be had."""
    splits = recipe.splits
    shares: dict[Split, float] = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return Wanted(
        dynamics=dynamics_of(recipe, role, taxonomy),
        domains=domains_of(recipe, role),
        pairs=role.pairs,
        lengths=role.turns,
        from_stories=role.from_stories,
        splits={split: share for split, share in shares.items() if share > 0},
        neutral=taxonomy.neutral,
        seed=recipe.seed,
    )


def dynamics_of(recipe: Recipe, role: Dialogues, taxonomy: Taxonomy) -> Dynamics:
    """Fit the dynamics that a recipe asks for."""
    labels = tuple(role.labels or taxonomy.names)
    if unknown := [label for label in labels if label not in taxonomy.names]:
        hints = [f"emotion '{label}' is unknown. {did_you_mean(label, taxonomy.names)}" for label in unknown]
        raise recipe.error(("dialogues", "labels"), "; ".join(hints))
    total = sum(role.turns.values())
    lengths = [
        turns for turns, weight in role.turns.items() for _ in range(max(1, round(weight / total * LENGTH_STEPS)))
    ]
    sources = role.sources
    return fit_dynamics(
        _graph(recipe, role, taxonomy, labels),
        target_of(labels, role.labels),
        lengths=lengths,
        persistence=role.persistence,
        sources=Sources(sources.contagion, sources.baseline, sources.event),
    )


def domains_of(recipe: Recipe, role: Dialogues) -> tuple[Domain, ...]:
    """The domains that a recipe names; all where it names none."""
    known = {domain.name: domain for domain in builtin_domains()}
    names = role.domains or tuple(known)
    if unknown := [name for name in names if name not in known]:
        hints = [f"domain '{name}' is unknown. {did_you_mean(name, known)}" for name in unknown]
        raise recipe.error(("dialogues", "domains"), "; ".join(hints))
    return tuple(known[name] for name in names)


def openings_of(utterances: Sequence[Utterance], evidence: Sequence[Evidence]) -> list[Opening]:
    """The utterances that a dialogue can grow from: realised ones, whose story knows somebody else to say them to.

    Whoever is in the same section comes first, since they are there.
    """
    people: dict[str, dict[int, list[str]]] = {}
    for pair in evidence:
        people.setdefault(pair.story_id, {}).setdefault(pair.section, []).append(pair.character)
    openings = []
    for row in utterances:
        sections = people.get(row.story_id, {})
        near = sections.get(row.section, [])
        others = [
            one for section in sorted(sections, key=lambda place: abs(place - row.section)) for one in sections[section]
        ]
        listener = next((one for one in [*near, *others] if not _same_person(one, row.character)), None)
        if listener is not None and row.realised is not False:
            openings.append(
                Opening(
                    utterance_id=row.utterance_id,
                    story_id=row.story_id,
                    speaker=row.character,
                    listener=listener,
                    label=row.intended.label,
                    intensity=row.intended.intensity,
                    split=row.split,
                )
            )
    return openings


def _same_person(one: str, other: str) -> bool:
    """Whether two names share a word that tells their bearer: 'Marisol' is 'old Marisol'."""
    words = [set(split_words(name)) - TITLES for name in (one, other)]
    return bool(words[0] & words[1]) or not words[0]


def _graph(recipe: Recipe, role: Dialogues, taxonomy: Taxonomy, labels: tuple[str, ...]) -> TransitionGraph:
    if role.graph == "affect":
        return affect_graph(taxonomy, labels)
    if role.graph in builtin_graphs():
        return builtin_graph(role.graph, labels)
    if not role.graph.endswith((".yaml", ".yml")):
        hint = did_you_mean(role.graph, ("affect", *builtin_graphs()))
        raise recipe.error(
            ("dialogues", "graph"), f"graph '{role.graph}' is unknown. {hint} Or name a YAML file of your own."
        )
    return graph_of(load_strict(recipe.resolve(role.graph), GraphDocument), labels)
