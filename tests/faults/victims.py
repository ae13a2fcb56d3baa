# SPDX-License-Identifier: Apache-2.0
"""Runs of `affectory` that a test kills, each in a process of its own that notes every call of the scripted model.

A fork server that has imported everything starts them: a run then takes a second, where a new interpreter takes five.
"""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from flows.failpoints import VARIABLE
from flows.manifest import verify_release
from tests.flows.builds import write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH

CALLS: Final = "AFFECTORY_TEST_CALLS"
"""Names the file to which a victim adds a line for every call of the scripted model."""
POINTS: Final = "AFFECTORY_TEST_POINTS"
"""Names the file to which a victim adds a line for every failpoint that it passes."""
SLOTS: Final = 4
DELAY_S: Final = 0.002  # so that several calls are in flight

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("tests.faults.victims", "flows.cli", "flows.build", "flows.progress", "prefect", "datasets"),
        *("great_expectations", "generators.backends.echo", "generators.backends.hashed"),
    ]
)

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


@dataclass(frozen=True)
class Ended:
    """How a victim ended: its exit code, negative for a signal, and what it printed."""

    code: int
    text: str


class Victim:
    """A command in a process of its own, to be killed or waited for."""

    def __init__(self, arguments: Iterable[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        environment = {**os.environ, **(env or {})}
        self.process: BaseProcess = _CONTEXT.Process(
            target=_be_victim, args=([str(one) for one in arguments], str(log), environment)
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        if self.process.is_alive():
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 240) -> Ended:
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still at work after {timeout_s} s:\n{self._log.read_text()[-3000:]}")
        return Ended(self.process.exitcode, self._log.read_text() if self._log.exists() else "")


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


def _be_victim(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    """Be the command, with the given environment and all that it prints in a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    from flows import cli

    if path := environment.get(CALLS):
        _note_calls(path)
    if path := environment.get(POINTS):
        _note_points(path)
    sys.argv = ["affectory", *arguments]
    cli.main()  # what it raises is printed by multiprocessing, which then exits with 1


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
