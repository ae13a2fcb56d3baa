# SPDX-License-Identifier: Apache-2.0
"""What models were asked and what it cost, summed over the processes of a run."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field

from flows.meter import Cost, Load, merge_costs
from flows.readings import ReaderUsage
from flows.replies import ChatUsage
from flows.reply_store import Spent


@dataclass(frozen=True, slots=True)
class Usage:
    """Work of writers and reader, and what was paid for."""

    writer: ChatUsage = field(default_factory=ChatUsage)
    reader: ReaderUsage = field(default_factory=ReaderUsage)
    spent: Spent = field(default_factory=lambda: Spent(0, 0, 0))
    costs: Mapping[str, Cost] = field(default_factory=dict)
    """By the prompt that was asked."""
    load: Load = field(default_factory=Load)
    """Of the engines; that of several processes is added up, though they work at the same time."""

    def plus(self, other: "Usage", times: int = 1) -> "Usage":
        """The sum of two usages, or with `times=-1` the difference."""
        return Usage(
            ChatUsage(*_sum(astuple(self.writer), astuple(other.writer), times)),
            ReaderUsage(*_sum(astuple(self.reader), astuple(other.reader), times)),
            Spent(*_sum(self.spent, other.spent, times)),
            merge_costs(
                self.costs, {kind: Cost(*_sum((0,) * 5, astuple(cost), times)) for kind, cost in other.costs.items()}
            ),
            Load(*_sum(astuple(self.load), astuple(other.load), times)),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells its driver of a shard: numbers alone. The rows are in the run's folder."""

    kept: int
    rejected: int
    usage: Usage


def _sum(left: tuple[float, ...], right: tuple[float, ...], times: int) -> list[int]:
    return [one + times * other for one, other in zip(left, right, strict=True)]  # type: ignore[misc]  # seconds too
