# SPDX-License-Identifier: Apache-2.0
"""Prefect as a guest: no telemetry, nothing persisted beyond its own database, no server left behind.

Prefect's own ephemeral server outlives a killed run as an orphan that keeps the terminal's pipe open. So the server is
started here, as a child that the kernel ends with us. Where PREFECT_API_URL names a server, that one is used.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.ports import free_port
from validators.errors import AffectoryError

ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # one look-up of a telemetry host at each start otherwise
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # our errors are told once, by the command line
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",  # rows are our files, never pickles
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
}
READY_WITHIN_S = 180.0  # first start migrates the database: 10 s when quiet, 60 s seen on a busy machine
PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def prepare_environment() -> None:
    """Set what Prefect reads when it is imported; whatever the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Server:
    """Prefect's server, and its process where it is ours, which may still be coming up."""

    url: str
    process: subprocess.Popen[bytes] | None = None


@contextmanager
def prefect_server(*, schedules: bool = False) -> Iterator[Server]:
    """Start a server on loopback that ends with this process, unless PREFECT_API_URL names one.

    It takes two to three seconds of another core to come up, so it is begun early. With `schedules` it also starts
    what is due and keeps events; a build needs neither.
    """
    prepare_environment()
    if url := os.environ.get("PREFECT_API_URL"):
        yield Server(url)
        return
    port = free_port()
    process = _start_server(port, schedules)
    try:
        yield Server(f"http://127.0.0.1:{port}/api", process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def prefect_api(server: Server, *, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
    """Have Prefect use a server once it is up; `meanwhile` is done before that is waited for."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = server.url
    try:
        have_prefect_read()
        if meanwhile is not None:
            meanwhile()
        if server.process is not None:
            _wait_until_ready(server.url, server.process)
        yield
    finally:
        if before is None:
            os.environ.pop("PREFECT_API_URL", None)
            have_prefect_read()


def have_prefect_read() -> None:
    """Have Prefect read the environment again, if it is imported already; else it does so when it is, `meanwhile`."""
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()  # else it starts a server of its own, or asks one that has ended


def _start_server(port: int, schedules: bool) -> subprocess.Popen[bytes]:
    # -P: a project of the user may have a package `flows` too, where the command is run
    command = [sys.executable, "-P", "-m", "flows.prefect_server", str(port)]
    kind = {} if schedules else {"PREFECT__SERVER_EPHEMERAL": "1"}
    return subprocess.Popen(  # noqa: S603 - our own interpreter and fixed arguments
        command,
        env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_FINAL": "1", **kind},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # safe here: no engine, and so no other thread of ours, has been started yet
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )


def _die_with_parent() -> None:
    # asked by SIGTERM it waits for clients that are gone, for hours, and slows an engine beside it tenfold
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end_s:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 - loopback, our own port
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.03)
    server.kill()
    raise AffectoryError(
        f"Prefect's local server did not come up within {READY_WITHIN_S:.0f} s.",
        next_step="run `prefect server start` in another terminal, set PREFECT_API_URL to it, and run again",
    )
