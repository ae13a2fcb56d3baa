# SPDX-License-Identifier: Apache-2.0
"""What a run has cost so far, over all its commands: work/spending.json, which plans of the same recipe learn from.

It is no ledger: a killed command loses what its last stage had cost. Progress is what lies in the shards.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flows.atomic import storage_errors, write_bytes
from flows.meter import Cost, StageTime, merge_costs

log = logging.getLogger(__name__)

SPENDING = "spending.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rows of a stage: written, kept after duplicates, and realised by label where that is known."""

    written: int
    kept: int
    written_of: Mapping[str, int] = field(default_factory=dict)
    accepted_of: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spending:
    """Time by stage, calls and tokens by the prompt they were asked with, blind readings; and what came of it."""

    stages: Mapping[str, StageTime] = field(default_factory=dict)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    passages: int = 0
    wall_s: float = 0.0
    commands: int = 0
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """By stage; empty until the run has made its release."""

    def __add__(self, other: "Spending") -> "Spending":
        stages = {stage: self.stages.get(stage, StageTime()) + took for stage, took in other.stages.items()}
        return Spending(
            {**self.stages, **stages},
            merge_costs(self.costs, other.costs),
            self.passages + other.passages,
            self.wall_s + other.wall_s,
            self.commands + other.commands,
            other.outcomes or self.outcomes,
        )

    @property
    def total(self) -> Cost:
        """Of all prompts together."""
        return sum(self.costs.values(), Cost())


_READ = TypeAdapter(Spending)


def read_spending(work: Path) -> Spending:
    """Read what earlier commands cost; nothing where there were none, or where the file is damaged."""
    path = work / SPENDING
    if not path.exists():
        return Spending()
    try:
        with storage_errors(path):
            return _READ.validate_json(path.read_bytes())
    except ValidationError:
        log.warning("%s is damaged: what earlier commands cost is not known", path)
        return Spending()


def write_spending(work: Path, spending: Spending) -> None:
    """Write it anew."""
    write_bytes(work / SPENDING, json.dumps(asdict(spending), indent=1).encode() + b"\n")
