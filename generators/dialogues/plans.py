# SPDX-License-Identifier: Apache-2.0
"""What a round of dialogues is to be: from what each grows, who writes it, how long it is and how its emotions move.

Everything is dealt out, not drawn: over a run each domain, pair of writers and length has its share, and emotions are
balanced over all that was planned before.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from generators.dialogues.domains import Domain, first_names
from generators.shares import assign_splits, row_seed, share_out, stable_hash
from generators.trajectories.dynamics import Dynamics
from generators.trajectories.plans import Balance, Trajectory, plan_trajectories
from validators.dialogue_records import PlannedDialogue, PlannedTurn
from validators.records import Split

Pair = tuple[str, str]
Card = TypeVar("Card", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Opening:
    """A kept utterance that a dialogue can grow from, and whom its speaker can say it to."""

    utterance_id: str
    story_id: str
    speaker: str
    listener: str
    label: str
    intensity: int | None
    split: Split


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What the dialogues of a run are to be like."""

    dynamics: Dynamics
    domains: tuple[Domain, ...]
    pairs: tuple[Pair, ...]
    """The writer of the first speaker and of the second, by their names in the recipe."""
    lengths: Mapping[int, float]
    """Turns -> weight."""
    from_stories: float
    """Share of the dialogues that grow from an utterance, as far as there are utterances."""
    splits: Mapping[Split, float]
    """Of those that grow from a domain; the others are in the split of their story."""
    neutral: str | None
    """The label without intensity."""
    seed: int


def plan_dialogues(
    wanted: Wanted,
    before: Sequence[PlannedDialogue],
    openings: Sequence[Opening],
    *,
    count: int,
    first_shard: int,
    shard_rows: int,
) -> tuple[PlannedDialogue, ...]:
    """Plan `count` more dialogues, each opening being used once in a run; `before` are those planned so far."""
    ids = [f"d-{first_shard + n // shard_rows:05d}-{n % shard_rows:04d}" for n in range(count)]
    used = {row.utterance_id for row in before}
    left = [one for one in openings if one.utterance_id not in used and one.label in wanted.dynamics.labels]
    n_stories = min(len(left), round(count * wanted.from_stories))
    grown = _deal_openings(wanted, before, left, n_stories)
    topics = _deal(
        [domain.name for domain in wanted.domains], [row.domain for row in before], count - n_stories, wanted.seed
    )
    sources: list[Opening | str] = _alternate(grown, topics)
    pairs = _deal_pairs(wanted, before, [isinstance(source, Opening) for source in sources], first_shard)
    # dealt by shares, then mixed, so that no length goes with a domain or a pair
    lengths = [turns for turns, n in share_out(count, dict(sorted(wanted.lengths.items()))).items() for _ in range(n)]
    lengths = [lengths[place] for place in _shuffled(count, wanted.seed, "lengths", first_shard)]
    trajectories = plan_trajectories(
        wanted.dynamics,
        lengths,
        seed=stable_hash(wanted.seed, "trajectories", first_shard) % 2**63,
        starts=[source.label if isinstance(source, Opening) else None for source in sources],
        balance=_balance(before),
    )
    splits = assign_splits(ids, wanted.splits, seed=wanted.seed)
    return tuple(
        _planned(wanted, row_id, source, pair, trajectory, splits[row_id])
        for row_id, source, pair, trajectory in zip(ids, sources, pairs, trajectories, strict=True)
    )


def _planned(  # noqa: PLR0917 - what was dealt, card by card
    wanted: Wanted, row_id: str, source: Opening | str, pair: Pair, trajectory: Trajectory, split: Split
) -> PlannedDialogue:
    turns = [_without_intensity(turn, wanted.neutral) for turn in trajectory.turns]
    opening = source if isinstance(source, Opening) else None
    if opening:
        turns[0] = turns[0].model_copy(update={"intensity": opening.intensity})
    return PlannedDialogue(
        dialogue_id=row_id,
        domain=None if isinstance(source, Opening) else source,
        story_id=opening.story_id if opening else None,
        utterance_id=opening.utterance_id if opening else None,
        names=(opening.speaker, opening.listener) if opening else _names(wanted.seed, row_id),
        writers=pair,
        baselines=trajectory.baselines,
        trajectory=tuple(turns),
        split=opening.split if opening else split,
        seed=row_seed(wanted.seed, row_id),
    )


def _without_intensity(turn: PlannedTurn, neutral: str | None) -> PlannedTurn:
    return turn.model_copy(update={"intensity": None}) if turn.label == neutral else turn


def _deal_openings(
    wanted: Wanted, before: Sequence[PlannedDialogue], left: Sequence[Opening], count: int
) -> list[Opening]:
    """Take openings of stories and of labels that had the fewest so far."""
    stories = Counter(row.story_id for row in before)
    labels = Counter(row.trajectory[0].label for row in before if row.utterance_id)
    waiting = sorted(left, key=lambda one: stable_hash(wanted.seed, "opening", one.utterance_id))
    taken = []
    for _ in range(count):
        best = min(waiting, key=lambda one: (labels[one.label], stories[one.story_id]))
        waiting.remove(best)
        labels[best.label] += 1
        stories[best.story_id] += 1
        taken.append(best)
    return taken


def _deal(
    cards: Sequence[Card], before: Sequence[object], count: int, seed: int, *, beside: Sequence[object] = ()
) -> list[Card]:
    """Deal cards so that each comes as often as the others over the whole run; of equals, the one rarer in `beside`."""
    dealt, others = Counter(card for card in before if card in cards), Counter(beside)
    order = sorted(range(len(cards)), key=lambda place: stable_hash(seed, "deal", cards[place]))
    taken = []
    for _ in range(count):
        best = min(order, key=lambda place: (dealt[cards[place]], others[cards[place]], order.index(place)))
        dealt[cards[best]] += 1
        others[cards[best]] += 1
        taken.append(cards[best])
    return taken


def _deal_pairs(
    wanted: Wanted, before: Sequence[PlannedDialogue], from_stories: Sequence[bool], first_shard: int
) -> list[Pair]:
    """Deal the pairs of writers to both kinds alike, then mix: dealt in turn, each kind and domain would get one."""
    dealt: dict[bool, Iterator[Pair]] = {}
    all_dealt = [row.writers for row in before]
    for kind in (True, False):
        earlier = [row.writers for row in before if (row.utterance_id is not None) == kind]
        pairs = _deal(wanted.pairs, earlier, from_stories.count(kind), wanted.seed, beside=all_dealt)
        all_dealt += pairs
        dealt[kind] = iter([pairs[place] for place in _shuffled(len(pairs), wanted.seed, "pairs", first_shard, kind)])
    return [next(dealt[kind]) for kind in from_stories]


def _alternate(openings: Sequence[Opening], topics: Sequence[str]) -> list[Opening | str]:
    """Mix both kinds evenly, so that a run cut short has its share of each."""
    total = len(openings) + len(topics)
    places: list[tuple[float, int, Opening | str]] = []
    kinds: tuple[Sequence[Opening | str], ...] = (openings, topics)
    for kind, sources in enumerate(kinds):
        places += [((n + 0.5) / len(sources) * total, kind, source) for n, source in enumerate(sources)]
    return [source for _, _, source in sorted(places, key=lambda place: place[:2])]


def _shuffled(count: int, *salt: object) -> list[int]:
    return sorted(range(count), key=lambda place: stable_hash(*salt, place))


def _names(seed: int, row_id: str) -> tuple[str, str]:
    first, second = sorted(first_names(), key=lambda name: stable_hash(seed, row_id, name))[:2]
    return first, second


def _balance(before: Sequence[PlannedDialogue]) -> Balance:
    """What was planned so far, so that a run is balanced as a whole."""
    return Balance(
        Counter(turn.label for row in before for turn in row.trajectory),
        Counter(label for row in before for label in row.baselines),
    )
