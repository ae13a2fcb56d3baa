# SPDX-License-Identifier: Apache-2.0
"""Ray nodes as processes of this machine, each of which a test can kill with all that it started."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from flows.ports import free_port

TRIES = 6  # a raylet gives up when its agent takes more than 15 s to start, as on a busy machine (ray issue 65983)
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # all of it is on loopback
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
}


class RayNode:
    """A node that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str) -> None:
        self.address = address
        self._process = process

    def workers(self, task: str) -> list[int]:
        """The processes of this node that make shards of a stage."""
        return [one.pid for one in self._below() if any(f"ray::{task}" in part for part in _command_line(one))]

    def kill(self) -> None:
        """End everything at once, as when a machine loses its power."""
        for one in self._below():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.kill()
        self._process.wait()

    def _below(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self._process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []


@contextmanager
def ray_cluster() -> Iterator[tuple[RayNode, RayNode]]:
    """A head and a second node, of one CPU each."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a socket's path has 107 characters at most
    nodes: list[RayNode] = []
    try:
        port = free_port()
        head = _start(folder / "head", "--head", f"--port={port}", address=f"127.0.0.1:{port}")
        nodes.append(head)
        nodes.append(_start(folder / "other", f"--address={head.address}", address=head.address))
        yield nodes[0], nodes[1]
    finally:
        for node in reversed(nodes):
            node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, *arguments: str, address: str) -> RayNode:
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus=1", *arguments]
    command += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats"]
    if "--head" in arguments:
        command += ["--include-dashboard=false", f"--temp-dir={folder}"]
    for _ in range(TRIES):
        log = folder.with_suffix(".log")
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=os.environ | SETTINGS, stdout=file, stderr=file)
        end_s = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end_s:
            if b"will now block" in log.read_bytes():
                return RayNode(process, address)
            time.sleep(0.2)
        RayNode(process, address).kill()
    raise RuntimeError(f"no Ray node came up: {log.read_text()[-2000:]}")


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
