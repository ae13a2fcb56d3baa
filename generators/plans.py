# SPDX-License-Identifier: Apache-2.0
"""Which utterances to ask for, round by round: what the quotas lack, from pairs with evidence, rarely used ones first.

Targets of labels are exact. Within a label the split and the intensity (for neutral the manner) have targets too, but
where a cell has no evidence its rows go to the label's other cells: a label's count matters more than its balance.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from generators.quotas import Cell, Quotas, Standing, missing_rows
from generators.shares import row_seed, stable_hash
from validators.records import Evidence, Intended, PlannedUtterance, Split

MAX_REPEATS = 3  # times that one pair may be asked at one intensity; beyond, the lines repeat each other
ROUND_ROWS = 64  # up to so many missing rows are planned at once; more are planned by halves

PairKey = tuple[str, int, str, str]
"""Story, section, character and label: what a row is asked from."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One row that could be asked for."""

    pair: Evidence
    cell: Cell


def plan_round(
    evidence: Sequence[Evidence],
    story_splits: Mapping[str, Split],
    quotas: Quotas,
    standing: Standing,
    *,
    seed: int,
    first_shard: int,
    shard_rows: int,
    earlier: Sequence[PairKey] = (),
) -> tuple[PlannedUtterance, ...]:
    """Choose the next rows to write: what is missing of each label and no more; nothing when no quota can be fed.

    A pure function of its arguments, so that a resumed run plans the same rows. While much is missing, a round asks
    for half of it: what it teaches (which openings repeat, which labels fail) helps the other half. `earlier` says
    what the rows of earlier versions were asked from: such pairs and sections come last.
    """
    evidence = _each_pair_once(evidence)
    missing = missing_rows(quotas, standing)
    if sum(missing.values()) > ROUND_ROWS:
        missing = {label: -(-count // 2) for label, count in missing.items()}
    uses = _Uses(standing.written, earlier)
    chosen: list[_Choice] = []
    for label in sorted(missing):
        cells = quotas.cells(label)
        pool = _Pool(_pairs_of(label, evidence, quotas.neutral), story_splits, uses, seed)
        lacks = Counter(cells)
        lacks.subtract(standing.accepted_of(label))
        chosen += _choose(missing[label], lacks, cells, pool)
    # rows of one section follow each other, so that the engine reads the section once
    chosen.sort(key=lambda c: (c.pair.story_id, c.pair.section, c.pair.label, c.pair.character, str(c.cell)))
    wanted = max(0, min(quotas.contextual_rows, quotas.rows) - standing.contextual)
    left = sum(missing_rows(quotas, standing).values())
    contextual = min(len(chosen), -(-wanted * len(chosen) // left)) if left else 0
    return tuple(
        _row(position, choice, (len(chosen), contextual), standing, seed=seed, first=(first_shard, shard_rows))
        for position, choice in enumerate(chosen)
    )


def _each_pair_once(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Merge what was found twice: people's cause before a model's, a cause before none."""
    best: dict[tuple[str, int, str, str], Evidence] = {}
    for pair in sorted(evidence, key=lambda pair: (pair.origin != "given", not pair.cause, pair.cause)):
        best.setdefault((pair.story_id, pair.section, pair.character, pair.label), pair)
    return list(best.values())


class _Uses:
    """How often pairs and sections were asked for, in earlier rounds and so far in this one."""

    def __init__(self, written: Iterable[PlannedUtterance], earlier: Sequence[PairKey]) -> None:
        # those of earlier versions count for the order alone: what repeats their rows is dropped anyway
        self._pairs: Counter[PairKey] = Counter(earlier)
        self._ways: Counter[tuple[object, ...]] = Counter()
        self._sections: Counter[tuple[str, int]] = Counter(key[:2] for key in earlier)
        for row in written:
            self._add(
                (row.story_id, row.section, row.character, row.intended.label), row.intended.intensity, row.manner
            )

    def add(self, choice: _Choice) -> None:
        """Note a choice."""
        self._add(_key(choice.pair), *choice.cell[1:])

    def of(self, choice: _Choice) -> int:
        """How often a pair was asked in this way."""
        return self._ways[(*_key(choice.pair), *choice.cell[1:])]

    def order(self, pair: Evidence, seed: int) -> tuple[int, int, int]:
        """Sort key of a pair: rarely used ones first, then those in rarely used sections, then by chance."""
        return (
            self._pairs[_key(pair)],
            self._sections[pair.story_id, pair.section],
            stable_hash(seed, *_key(pair)),
        )

    def _add(self, key: PairKey, intensity: int | None, manner: str | None) -> None:
        self._pairs[key] += 1
        self._ways[(*key, intensity, manner)] += 1
        self._sections[key[0], key[1]] += 1


def _key(pair: Evidence) -> PairKey:
    return pair.story_id, pair.section, pair.character, pair.label


def _pairs_of(label: str, evidence: Sequence[Evidence], neutral: str | None) -> list[Evidence]:
    """The pairs that can be asked for a label; anyone who feels something anywhere can also speak without feeling."""
    if label != neutral:
        return [pair for pair in evidence if pair.label == label]
    speakers = {(pair.story_id, pair.section, pair.character): pair for pair in evidence}
    return [pair.model_copy(update={"label": label, "cause": ""}) for pair in speakers.values()]


class _Pool:
    """The pairs that can feed one label, by split; gives out the one that was asked for least."""

    def __init__(self, pairs: Sequence[Evidence], story_splits: Mapping[str, Split], uses: _Uses, seed: int) -> None:
        self._pairs = pairs
        self._uses = uses
        self._seed = seed
        self._queues: dict[Split, list[tuple[tuple[int, int, int], int]]] = {}
        for index, pair in enumerate(pairs):
            queue = self._queues.setdefault(story_splits[pair.story_id], [])
            heapq.heappush(queue, (uses.order(pair, seed), index))

    def take(self, cell: Cell) -> _Choice | None:
        """Take the freshest pair of the cell's split that was not asked too often in this way."""
        queue = self._queues.get(cell[0], [])
        tired: list[tuple[tuple[int, int, int], int]] = []
        found: _Choice | None = None
        while queue and found is None:
            order, index = heapq.heappop(queue)
            current = self._uses.order(self._pairs[index], self._seed)
            choice = _Choice(self._pairs[index], cell)
            if order != current:  # its section was used since it was queued
                heapq.heappush(queue, (current, index))
            elif self._uses.of(choice) < MAX_REPEATS:
                found = choice
                self._uses.add(choice)
                heapq.heappush(queue, (self._uses.order(choice.pair, self._seed), index))
            else:
                tired.append((order, index))
        for item in tired:
            heapq.heappush(queue, item)
        return found


def _choose(wanted: int, lacks: Counter[Cell], cells: Iterable[Cell], pool: _Pool) -> Iterator[_Choice]:
    """Choose rows of one label: each cell what it lacks, then what a cell without evidence leaves to the others."""
    open_cells = sorted(cells, key=lambda cell: (-lacks[cell], str(cell)))
    while wanted and open_cells:
        for cell in [cell for cell in open_cells if lacks[cell] > 0] or open_cells[:]:
            if not wanted:
                return
            choice = pool.take(cell)
            if choice is None:
                open_cells.remove(cell)
                continue
            wanted -= 1
            lacks[cell] -= 1
            yield choice


def _row(
    position: int,
    choice: _Choice,
    counts: tuple[int, int],
    standing: Standing,
    *,
    seed: int,
    first: tuple[int, int],
) -> PlannedUtterance:
    first_shard, shard_rows = first
    n_rows, contextual = counts
    utterance_id = f"u-{first_shard + position // shard_rows:05d}-{position % shard_rows:04d}"
    split, intensity, manner = choice.cell
    return PlannedUtterance(
        utterance_id=utterance_id,
        story_id=choice.pair.story_id,
        section=choice.pair.section,
        character=choice.pair.character,
        intended=Intended(label=choice.pair.label, intensity=intensity, cause=choice.pair.cause),
        manner=manner,
        # evenly spread: the count of contextual rows up to here grows by one
        contextual=(position + 1) * contextual // n_rows > position * contextual // n_rows,
        split=split,
        avoid=tuple(standing.worn.get(choice.pair.label, ())),
        seed=row_seed(seed, utterance_id),
    )
