# SPDX-License-Identifier: Apache-2.0
"""A real vLLM server in a process of its own, as users run it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from generators.backends.vllm import ENVIRONMENT

READY_S = 240.0  # 30 s on a quiet machine
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Threads that are bound to cores wait for one another in every layer, and so for every other process of the machine:
on two busy cores, two of them were ten times slower than one."""


@contextmanager
def vllm_server(folder: Path, *, log: Path, name: str) -> Iterator[str]:
    """Serve a folder on a free loopback port; gives the base_url and ends the whole process group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        "--model", str(folder), "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "8",
    ]  # fmt: skip
    environment = {**os.environ, **ENVIRONMENT, **ONE_THREAD}
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]  # the server needs its engine in another process
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments],
            stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_ready(process, port, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):  # what is left of the group, such as the engine's own process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the server is not ready:\n{log.read_text(errors='replace')[-3000:]}")
