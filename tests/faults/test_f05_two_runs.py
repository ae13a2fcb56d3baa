# SPDX-License-Identifier: Apache-2.0
"""Two runs in one folder: the second one ends at once and names the first; a dead run's lock is taken over; where
locks do not work at all, the release is still whole and the same."""

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows import run_opening
from flows.manifest import verify_release
from flows.run_lock import Holder, RunLock
from tests.faults.victims import Case, Victim, new_case
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import open_tiny
from validators.errors import StorageError

pytestmark = pytest.mark.fault

HOLDER = """
import sys, time
from pathlib import Path
from tests.flows.shards import open_tiny
with open_tiny(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_run_ends_at_once_and_the_lock_of_the_dead_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (root / ".run.json.1.0123abcd.tmp").touch()  # as if the first run were writing
        began = time.monotonic()
        with pytest.raises(StorageError) as caught:
            open_tiny(root)
        assert time.monotonic() - began < 10
        assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
        assert (root / ".run.json.1.0123abcd.tmp").exists()
    finally:
        holder.kill()
        holder.communicate()
    with caplog.at_level(logging.WARNING):
        open_tiny(root).close()
    assert f"took over the lock left by process {holder.pid}" in caplog.text
    caplog.clear()
    open_tiny(root).close()
    assert caplog.text == ""  # a run that ends well leaves no lock


@pytest.mark.usefixtures("prefect_server")
def test_a_second_build_ends_at_once_and_harms_nothing(tmp_path: Path) -> None:
    case = new_case(tmp_path)
    first = case.start("", "writer.options={delay_s: 0.05}")
    while not case.n_calls:
        assert first.process.is_alive(), first.wait().text
        time.sleep(0.02)
    second = Victim(["build", case.recipe, "--output", case.output, *_set(case)], tmp_path / "second.log")
    ended = second.wait()
    assert ended.code == 2
    assert f"another run is at work in this folder: process {first.pid} on {socket.gethostname()}" in ended.text
    assert "Traceback" not in ended.text
    assert first.wait().code == 0
    assert case.problems() == []


def _set(case: Case) -> list[str]:
    return [part for one in (*case.settings, "writer.options={delay_s: 0.05}") for part in ("--set", one)]


def test_where_locks_do_not_work_two_runs_make_one_whole_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, rows=24)
    build_in_turn(recipe, tmp_path / "alone")
    monkeypatch.setattr(RunLock, "_take", lambda self: None)  # as on a network file system that grants every lock
    together = threading.Barrier(2)
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            together.wait()
            build_in_turn(recipe, tmp_path / "out")
        except StorageError as error:  # each may take the other's unfinished file for a leftover
            ended.append(error)
        else:
            ended.append(None)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 2, "a run ended by something other than a StorageError"
    build_in_turn(recipe, tmp_path / "out")
    assert verify_release(tmp_path / "out") == []
    assert (tmp_path / "out" / "manifest.json").read_bytes() == (tmp_path / "alone" / "manifest.json").read_bytes()


def test_two_that_begin_at_the_same_moment_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_tiny(tmp_path / "run").close()
    said = (tmp_path / "run" / "run.json").read_bytes()
    monkeypatch.setattr(run_opening, "read_identity", lambda root: None)  # as seen just before the other wrote it
    with pytest.raises(StorageError, match="at the same moment"):
        open_tiny(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == said


def test_one_process_cannot_open_a_folder_twice(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run"), pytest.raises(StorageError, match=f"process {os.getpid()}"):
        open_tiny(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff" * 5000])
def test_a_torn_lock_is_no_lock(tmp_path: Path, content: bytes) -> None:
    open_tiny(tmp_path / "run").close()
    (tmp_path / "run" / "run.lock").write_bytes(content)
    open_tiny(tmp_path / "run").close()


HERE = Holder.here()


@pytest.mark.parametrize(
    ("holder", "opens"),
    [
        ({"pid": os.getpid(), "host": HERE.host, "boot_id": HERE.boot_id}, False),
        ({"pid": 2**22 + 1, "host": HERE.host, "boot_id": HERE.boot_id}, True),  # above the largest pid of Linux
        ({"pid": os.getpid(), "host": HERE.host, "boot_id": "before the reboot"}, True),
        ({"pid": 1, "host": "elsewhere", "boot_id": "x"}, False),
    ],
)
def test_without_flock_the_named_holder_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: dict[str, object], opens: bool
) -> None:
    def no_flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, "no locks on this file system")

    open_tiny(tmp_path / "run").close()
    (tmp_path / "run" / "run.lock").write_text(json.dumps(holder))
    monkeypatch.setattr(fcntl, "flock", no_flock)
    if opens:
        open_tiny(tmp_path / "run").close()
    else:
        with pytest.raises(StorageError, match=f"process {holder['pid']} on {holder['host']}"):
            open_tiny(tmp_path / "run")
