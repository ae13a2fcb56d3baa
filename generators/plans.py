# SPDX-License-Identifier: Apache-2.0
"""Which utterances to ask for: pairs with evidence, spread evenly over labels, intensities, sections and stories."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from validators.records import Evidence, Intended, Intensity, PlannedUtterance, Split

Name = TypeVar("Name", bound=str)

MAX_REPEATS = 3  # times that one pair may be asked at one intensity; beyond, the lines repeat each other
SEED_SPACE = 2**31

MANNERS = ("informing", "asking", "polite", "flat")
"""Ways to say something without feeling: one kind of neutral alone would be learnt as the class."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What the recipe asks for."""

    rows: int
    contextual_rows: int
    weights: Mapping[str, float]  # label -> share of the rows, relative
    neutral: str | None
    intensities: tuple[Intensity, ...]
    shard_rows: int
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The planned rows in the order of their shards, and per label how many rows the evidence could not feed."""

    rows: tuple[PlannedUtterance, ...]
    short: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One row that could be asked for."""

    pair: Evidence
    intensity: Intensity | None
    manner: str | None
    repeat: int


def plan_utterances(evidence: Sequence[Evidence], settings: PlanSettings) -> Plan:
    """Choose what to ask for; a pure function of its arguments, so that a resumed run plans the same rows.

    A label without enough evidence leaves its rest to the others; what nobody can take is not planned.
    """
    evidence = _each_pair_once(evidence)
    choices = {label: list(_choices(label, evidence, settings)) for label in settings.weights}
    wanted = share_out(settings.rows, settings.weights)
    given = fill(settings.rows, settings.weights, {label: len(found) for label, found in choices.items()})
    chosen = [choice for label in sorted(given) for choice in choices[label][: given[label]]]
    # rows of one section follow each other, so that the engine reads the section once
    chosen.sort(
        key=lambda c: (c.pair.story_id, c.pair.section, c.pair.label, c.pair.character, c.repeat, c.intensity or 0)
    )
    rows = [_row(position, choice, len(chosen), settings) for position, choice in enumerate(chosen)]
    short = {label: wanted[label] - given[label] for label in settings.weights if given[label] < wanted[label]}
    return Plan(tuple(rows), short)


def share_out(total: int, weights: Mapping[Name, float]) -> dict[Name, int]:
    """Split a total by weights into whole numbers that sum to it (largest remainder; ties by name)."""
    if not weights:
        return {}
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    shares = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in rest[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def fill(total: int, weights: Mapping[str, float], capacity: Mapping[str, int]) -> dict[str, int]:
    """Split a total by weights where each name can take only so many; what one cannot take goes to the others."""
    given = dict.fromkeys(weights, 0)
    left = total
    while left:
        open_names = {name: weight for name, weight in weights.items() if given[name] < capacity[name]}
        if not open_names:
            break
        for name, share in share_out(left, open_names).items():
            taken = min(share, capacity[name] - given[name])
            given[name] += taken
            left -= taken
    return given


def assign_splits(story_ids: Sequence[str], shares: Mapping[Split, float], *, seed: int) -> dict[str, Split]:
    """Give each story to one split, so that nothing of a story, its characters or its rows is in two.

    Whole numbers of stories by largest remainder; a split with a share gets at least one story if there are enough.
    """
    order = sorted(set(story_ids), key=lambda story_id: _hash(seed, "split", story_id))
    wanted = {split: share for split, share in shares.items() if share > 0}
    counts = share_out(len(order), wanted)
    if len(order) >= len(wanted):
        for split in counts:
            if counts[split] == 0:
                counts[max(counts, key=lambda name: counts[name])] -= 1
                counts[split] = 1
    splits = [split for split, count in counts.items() for _ in range(count)]
    return dict(zip(order, splits, strict=True))


def row_seed(run_seed: int, row_id: str) -> int:
    """The seed of one row: from the run's seed and the row's id, whatever the order of work."""
    return _hash(run_seed, "row", row_id) % SEED_SPACE


def _each_pair_once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Merge what was found twice: people's cause before a model's, a cause before none."""
    best: dict[tuple[str, int, str, str], Evidence] = {}
    for pair in sorted(evidence, key=lambda pair: (pair.origin != "given", not pair.cause, pair.cause)):
        best.setdefault((pair.story_id, pair.section, pair.character, pair.label), pair)
    return list(best.values())


def _choices(label: str, evidence: Sequence[Evidence], settings: PlanSettings) -> Iterator[_Choice]:
    """All rows that could be asked for a label, best first: new sections before used ones, then other intensities."""
    if label == settings.neutral:
        speakers = {(pair.story_id, pair.section, pair.character): pair for pair in evidence}
        pairs = [pair.model_copy(update={"label": label, "cause": "none"}) for pair in speakers.values()]
    else:
        pairs = [pair for pair in evidence if pair.label == label]
    pairs.sort(key=lambda pair: _hash(settings.seed, pair.story_id, pair.section, pair.character, pair.label))
    used: Counter[tuple[str, int]] = Counter()
    turns: list[tuple[int, Evidence]] = []
    for pair in pairs:
        turns.append((used[pair.story_id, pair.section], pair))
        used[pair.story_id, pair.section] += 1
    turns.sort(key=lambda turn: turn[0])
    ways = len(MANNERS) if label == settings.neutral else len(settings.intensities)
    for repeat in range(MAX_REPEATS):
        for way in range(ways):
            for rank, (_, pair) in enumerate(turns):
                if label == settings.neutral:
                    yield _Choice(pair, None, MANNERS[(rank + way) % ways], repeat)
                else:
                    yield _Choice(pair, settings.intensities[(rank + way) % ways], None, repeat)


def _row(position: int, choice: _Choice, n_rows: int, settings: PlanSettings) -> PlannedUtterance:
    utterance_id = f"u-{position // settings.shard_rows:05d}-{position % settings.shard_rows:04d}"
    contextual = min(settings.contextual_rows, n_rows)
    is_neutral = choice.pair.label == settings.neutral
    return PlannedUtterance(
        utterance_id=utterance_id,
        story_id=choice.pair.story_id,
        section=choice.pair.section,
        character=choice.pair.character,
        intended=Intended(
            label=choice.pair.label, intensity=choice.intensity, cause="" if is_neutral else choice.pair.cause
        ),
        manner=choice.manner,
        # evenly spread: the count of contextual rows up to here grows by one
        contextual=(position + 1) * contextual // n_rows > position * contextual // n_rows,
        seed=row_seed(settings.seed, utterance_id),
    )


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")
