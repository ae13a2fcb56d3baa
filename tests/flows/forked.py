# SPDX-License-Identifier: Apache-2.0
"""Commands of `affectory` in processes of their own, forked from one that has imported everything.

Such a process begins its work at once, where a new interpreter spends seconds on imports. What a variable of the
environment decides while modules are imported (HF_ENDPOINT, for one) it has missed.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import flows.studio  # noqa: F401 - names what to import beforehand too, and must do so first

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("tests.faults.victims", "flows.cli", "flows.build", "flows.progress", "prefect", "datasets"),
        *("great_expectations", "generators.backends.echo", "generators.backends.hashed"),
    ]
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it printed."""

    code: int
    text: str
    errors: str
    """The same as `text` where both went into one file."""


class Forked:
    """A command at work; what it prints goes into files, which may be one."""

    def __init__(
        self,
        arguments: Iterable[str | Path],
        out: Path,
        err: Path,
        env: Mapping[str, str] | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        self._files = (out, err)
        for file in self._files:
            file.write_bytes(b"")
        told = ([str(one) for one in arguments], str(out), str(err), {**os.environ, **(env or {})}, str(Path.cwd()))
        self.process: BaseProcess = _CONTEXT.Process(target=_be_command, args=(*told, first))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        if self.process.is_alive():
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 240) -> Ended:
        """Wait for its end, whatever that is."""
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"still at work after {timeout_s} s:\n{self._files[1].read_text()[-3000:]}")
        return Ended(self.process.exitcode, *(file.read_text() for file in self._files))


def _be_command(
    arguments: list[str], out: str, err: str, environment: dict[str, str], folder: str, first: Callable[[], None] | None
) -> None:
    """Be the command, with the given environment and all that it prints in files."""
    for descriptor, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    from prefect.context import refresh_global_settings_context

    from flows import cli

    refresh_global_settings_context()  # of the environment in which Prefect was imported
    _CONTEXT.set_forkserver_preload(["flows.studio"])  # as without us
    if first is not None:
        first()
    sys.argv = ["affectory", *arguments]
    cli.main()  # what it raises is printed by multiprocessing, which then exits with 1
