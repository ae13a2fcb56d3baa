# SPDX-License-Identifier: Apache-2.0
"""Runs of `affectory` that a test kills, each in a process of its own that notes every call of the scripted model."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from flows.failpoints import VARIABLE
from flows.manifest import verify_release
from tests.flows.builds import write_recipe
from tests.flows.forked import Ended, Forked
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH

CALLS: Final = "AFFECTORY_TEST_CALLS"
"""Names the file to which a victim adds a line for every call of the scripted model."""
POINTS: Final = "AFFECTORY_TEST_POINTS"
"""Names the file to which a victim adds a line for every failpoint that it passes."""
SLOTS: Final = 4
DELAY_S: Final = 0.002  # so that several calls are in flight

TEXT: Final = ("text", "", (f"writer={{backend: echo, slots: {SLOTS}, options: {{delay_s: {DELAY_S}}}}}",))
ALL: Final = (
    "dialogues and speech",
    DIALOGUES.replace("18", "4") + SPEECH.replace("shard_rows: 40", "shard_rows: 15"),
    (*READ, *TEXT[2]),
)
"""A kind of build: its name, what its recipe has beyond utterances, and what is set."""

PLANS: Final = {
    "utterances": ("plan", "utterance_id", ("utterances", "duplicates")),
    "dialogues": ("dialogue_plan", "dialogue_id", ("dialogues", "dialogue_duplicates")),
    "clips": ("clip_plan", "clip_id", ("speech",)),
}
"""By table of the release: the stage that planned its rows, the column of their ids, the stages that rejected some."""


class Victim(Forked):
    """A command to be killed or waited for; it notes its calls and failpoints where the environment says so."""

    def __init__(self, arguments: Iterable[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(arguments, log, log, env, _note)


@dataclass(frozen=True)
class Case:
    """A scripted build in a folder, started and killed as often as a test likes."""

    folder: Path
    recipe: Path
    settings: tuple[str, ...]

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def calls(self) -> Path:
        return self.folder / "calls.txt"

    def start(self, failpoint: str = "", *settings: str, env: Mapping[str, str] | None = None) -> Victim:
        """Start `affectory build`, to fail at a point (`name:n:action`) if one is named."""
        chosen = [part for one in (*self.settings, *settings) for part in ("--set", one)]
        environment = {CALLS: str(self.calls), VARIABLE: failpoint, **(env or {})}
        return Victim(
            ["build", self.recipe, "--output", self.output, "--json", *chosen], self.folder / "log", environment
        )

    def build(self, failpoint: str = "", *settings: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run `affectory build` to its end, whatever that is."""
        return self.start(failpoint, *settings, env=env).wait()

    @property
    def manifest(self) -> bytes:
        return (self.output / "manifest.json").read_bytes()

    @property
    def n_calls(self) -> int:
        return len(self.calls.read_text().split()) if self.calls.exists() else 0

    @property
    def repeated(self) -> int:
        """Calls of the model that had been made before, over all starts."""
        counts = Counter(self.calls.read_text().split())
        return sum(count - 1 for count in counts.values())

    def problems(self) -> list[str]:
        """What a folder after a whole build must not have: files not as listed, leftovers, rows lost or doubled."""
        found = verify_release(self.output)
        found += [f"{path.name} was left" for path in self.output.rglob("*.tmp")]
        lost, doubled = lost_and_doubled(self.output)
        return found + [f"{one} is lost" for one in lost] + [f"{one} is doubled" for one in doubled]


def new_case(folder: Path, kind: tuple[str, str, tuple[str, ...]] = TEXT, *, rows: int | None = None) -> Case:
    """Write the recipe of a kind of build into a folder."""
    _, extra, settings = kind
    folder.mkdir(parents=True, exist_ok=True)
    return Case(folder, write_recipe(folder, rows=rows or (8 if extra else 40), extra=extra), settings)


def lost_and_doubled(output: Path) -> tuple[list[str], list[str]]:
    """Planned rows that are neither in the release nor rejected, and rows that are there twice or in both."""
    lost: list[str] = []
    doubled: list[str] = []
    for table, (plan, column, stages) in PLANS.items():
        planned = set(_ids(output, f"work/{plan}/part-*.parquet", column))
        ended = Counter(_ids(output, f"data/{table}/*.parquet", column))
        for stage in stages:
            ended.update(_ids(output, f"work/{stage}/rejected-*.parquet", "planned_id"))
        lost += sorted(planned - ended.keys())
        doubled += sorted(one for one, count in ended.items() if count > 1)
    return lost, doubled


def _ids(output: Path, pattern: str, column: str) -> list[str]:
    tables = [pq.read_table(path, columns=[column]) for path in sorted(output.glob(pattern))]
    return [str(one) for table in tables for one in table.column(column).to_pylist()]


def _note() -> None:
    if path := os.environ.get(CALLS):
        _note_calls(path)
    if path := os.environ.get(POINTS):
        _note_points(path)


def _note_calls(path: str) -> None:
    from dataclasses import asdict

    from flows.sealed import sha256_of
    from generators.backends import echo

    answer = echo.reply_to

    def noted(request: Any, faults: Any = None) -> Any:
        _append(path, sha256_of(asdict(request)))
        return answer(request, faults)

    echo.reply_to = noted


def _note_points(path: str) -> None:
    import flows.publishing
    import flows.release  # noqa: F401 - all modules with a failpoint are imported by these
    from flows import failpoints

    real = failpoints.failpoint

    def noted(name: failpoints.Point) -> None:
        _append(path, name)
        real(name)

    for module in list(sys.modules.values()):
        if getattr(module, "failpoint", None) is real:
            module.failpoint = noted  # type: ignore[attr-defined]


def _append(path: str, line: str) -> None:
    # opened anew each time: the line is with the kernel when this returns, whatever then becomes of the process
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
