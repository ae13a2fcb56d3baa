# SPDX-License-Identifier: Apache-2.0
"""A process that makes shards for a driver, perhaps on another machine: it reads what the driver wrote, and writes.

A task is the run's folder or object store, the number of the command, a stage and a shard. Rows, models and secrets
never travel: plans are read from the folder, weights and stories are this machine's own (their hashes must be those of
the run), keys come from its environment. Models are opened once for each command, when first asked.
"""

import hashlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flows.atomic import storage_errors, write_bytes
from flows.identity import difference, fingerprint
from flows.meter import EngineMeter, Load, load_of
from flows.mirror import Mirror, open_mirror
from flows.models import cache_folder
from flows.planned_shards import make_planned
from flows.recipe import restore_recipe
from flows.run_folder import RunFolder
from flows.runs import SERVERS, Inputs, Run, read_inputs
from flows.speech import open_studio
from flows.stopping import StopFile
from flows.studio import StudioPool
from flows.usage import Report, Usage
from flows.worker_replies import WorkerReplies
from validators.errors import InputError, RecipeMismatchError

COMMAND: Final = "command.json"
STOP: Final = "stop"


class CountingProgress:
    """Counts the rows that ended, for the report of a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = self._rejected = 0

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Say nothing: the driver has said it."""

    def advance(self, stage: str, *, kept: int, rejected: int, note: str = "") -> None:
        """Count."""
        with self._lock:
            self._kept += kept
            self._rejected += rejected

    def tell(self, text: str) -> None:
        """Say nothing: what workers say would come to their own machines."""

    def take(self) -> tuple[int, int]:
        """What was counted since the last time."""
        with self._lock:
            counted = self._kept, self._rejected
            self._kept = self._rejected = 0
            return counted


@dataclass
class Worker:
    """What one process holds open for one command."""

    command: str
    run: Run
    replies: WorkerReplies
    progress: CountingProgress
    _studio: StudioPool | None = None
    _reported: Usage = field(default_factory=Usage)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, stage: str, index: int) -> Report:
        """Make a shard and close the file of its replies; tells what was not told before."""
        try:
            make_planned(self.run, stage, index, self._open_studio)
        finally:
            closed, mirror = self.replies.rotate(), self.run.folder.mirror
            if closed and mirror:
                mirror.push(closed)
        with self._lock:
            spoken = load_of(self._studio.spans) if self._studio else Load()
            usage = self.run.usage.plus(Usage(spent=self.run.spent, load=spoken))
            new = usage.plus(self._reported, -1)
            self._reported = usage
            kept, rejected = self.progress.take()
        return Report(kept, rejected, new)

    def _open_studio(self) -> StudioPool:
        with self._lock:
            if self._studio is None and self.run.recipe.speech is not None:
                self._studio = open_studio(self.run, self.run.recipe.speech)
            if self._studio is None:
                raise TypeError("the recipe wants no speech")
            return self._studio

    def close(self) -> None:
        """Close models and files."""
        if self._studio is not None:
            self._studio.__exit__(None, None, None)
        self.run.close()
        self.replies.close()


_open: Worker | None = None
_opening = threading.Lock()


def make_shard(place: str, command: str, stage: str, index: int) -> Report:
    """Make one shard of the run in a folder or object store; what a task of a cluster does."""
    return _worker(place, command).make(stage, index)


def write_command(folder: RunFolder, inputs: Inputs) -> str:
    """Write what this command was asked for, where workers read it; gives the number by which they know it."""
    number = secrets.token_hex(8)
    content = {
        "command": number,
        "recipe": inputs.recipe.canonical(),
        "folder": str(inputs.recipe.resolve("").absolute()),
        "after": [str(path.absolute()) for path in inputs.after],
        "identity": dict(folder.identity),
    }
    write_bytes(folder.work / COMMAND, json.dumps(content, ensure_ascii=False).encode())
    if folder.mirror:
        folder.mirror.push(folder.work / COMMAND)
    return number


def _worker(place: str, command: str) -> Worker:
    """The worker of this process, opened anew for each command."""
    global _open  # noqa: PLW0603 - a process has one set of models
    with _opening:
        if _open is None or _open.command != command:
            if _open is not None:
                _open.close()
                _open = None
            _open = _open_worker(place, command)
        return _open


def _open_worker(place: str, command: str) -> Worker:
    mirror: Mirror | None = None
    root = Path(place)
    if place.startswith("s3://"):
        # a copy for all workers of this machine; it may be deleted whenever none is at work
        root = cache_folder() / "runs" / hashlib.sha256(place.encode()).hexdigest()[:16]
        (root / "work").mkdir(parents=True, exist_ok=True)
        mirror = open_mirror(place, root, is_worker=True)
        mirror.fetch(root / "work" / COMMAND)
    content = _read_command(root, command)
    recipe = restore_recipe(content["recipe"], Path(content["folder"]))
    inputs = read_inputs(recipe, [Path(path) for path in content["after"]])
    _compare(content["identity"], inputs.identity)
    folder = RunFolder(root, fingerprint(inputs.identity), inputs.identity, recipe.canonical(), None, mirror)
    if mirror and mirror.has(folder.replies):
        mirror.store.download(mirror.path_of(folder.replies), folder.replies)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    replies = WorkerReplies(folder.worker_replies, name, folder.replies)
    progress = CountingProgress()
    inputs.models.servers.attend(folder.work / SERVERS / name, progress.tell)
    run = Run(inputs, folder, replies, EngineMeter(), progress, stopping=StopFile(folder.work / STOP, mirror))
    return Worker(command, run, replies, progress)


def _read_command(root: Path, command: str) -> dict[str, Any]:
    path = root / "work" / COMMAND
    with storage_errors(path):
        content: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    if content.get("command") != command:
        raise InputError(
            f"this worker on {socket.gethostname()} does not see the run's folder as its driver does",
            where=str(path),
            next_step="put the folder on a file system that all machines mount at the same path",
        )
    return content


def _compare(of_run: Mapping[str, str], here: Mapping[str, str]) -> None:
    if changes := difference(of_run, here):
        lines = "\n".join(f"  {change}" for change in changes)
        raise RecipeMismatchError(
            f"this worker would make other rows than its driver:\n{lines}",
            where=socket.gethostname(),
            next_step="give all machines the same version of affectory, the same stories and the same weights",
        )
