# SPDX-License-Identifier: Apache-2.0
"""How many accepted rows are wanted of what, and how far earlier rounds came."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from generators.shares import share_out, spread
from validators.records import Intensity, PlannedUtterance, Split

MANNERS = ("informing", "asking", "polite", "flat")
"""Ways to say something without feeling: one kind of neutral alone would be learnt as the class."""

GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, lie as evenly as any sequence's (Weyl)

Cell = tuple[Split, Intensity | None, str | None]
"""Within a label: the split, and the intensity or, for neutral, the manner."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many accepted rows are wanted: `rows` are shared among labels by weight, and within each by split and way."""

    rows: int
    contextual_rows: int
    weights: Mapping[str, float]  # label -> share of the rows, relative
    splits: Mapping[Split, float]
    neutral: str | None
    intensities: tuple[Intensity, ...]
    tries: int
    """At most so many rows are written for each that is wanted of a label."""

    @property
    def targets(self) -> dict[str, int]:
        """Wanted rows by label."""
        return share_out(self.rows, self.weights)

    def cells(self, label: str) -> dict[Cell, int]:
        """Wanted rows of a label by cell."""
        ways: list[tuple[Intensity | None, str | None]] = (
            [(None, manner) for manner in MANNERS]
            if label == self.neutral
            else [(intensity, None) for intensity in self.intensities]
        )
        turn = sorted(self.weights).index(label) * GOLDEN
        by_split = spread(self.targets[label], self.splits, start=turn % 1)
        cells: dict[Cell, int] = {}
        for n, (split, rows) in enumerate(by_split.items()):
            shares = spread(rows, dict.fromkeys(range(len(ways)), 1.0), start=(turn + n / 2) % 1)
            cells |= {(split, *ways[way]): count for way, count in shares.items()}
        return cells


@dataclass(frozen=True)
class Standing:
    """What earlier rounds brought: every row that was written, which of them were accepted, and what is worn out."""

    written: tuple[PlannedUtterance, ...] = ()
    accepted: frozenset[str] = frozenset()
    contextual: int = 0
    """Accepted rows that have a context."""
    worn: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By label: openings and phrases that too many accepted rows use."""

    def accepted_of(self, label: str) -> Counter[Cell]:
        """Accepted rows of a label by cell."""
        return Counter(self._cells.get(label, Counter()))

    @cached_property
    def written_of(self) -> Counter[str]:
        """Rows written, accepted or not, by label."""
        return Counter(row.intended.label for row in self.written)

    @cached_property
    def _cells(self) -> dict[str, Counter[Cell]]:
        """Accepted rows by label and cell, counted once: every label is asked about several times in a round."""
        cells: dict[str, Counter[Cell]] = {}
        for row in self.written:
            if row.utterance_id in self.accepted:
                cells.setdefault(row.intended.label, Counter())[cell_of(row)] += 1
        return cells


def missing_rows(quotas: Quotas, standing: Standing) -> dict[str, int]:
    """Count what each label still lacks and may still be tried for."""
    tried = standing.written_of
    missing = {}
    for label, target in quotas.targets.items():
        lacks = target - standing.accepted_of(label).total()
        missing[label] = max(0, min(lacks, quotas.tries * target - tried[label]))
    return missing


def cell_of(row: PlannedUtterance) -> Cell:
    """The cell of its label that a row belongs to."""
    return row.split, row.intended.intensity, row.manner
