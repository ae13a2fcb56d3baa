# SPDX-License-Identifier: Apache-2.0
"""Holds a server: ends it, and all that it started, when told to or when the run dies.

Run as a script, by our interpreter and with the standard library alone: server_guard.py PARENT COMMAND...
An engine keeps its workers in processes of their own, which a killed server leaves behind with the memory they hold.
So the server is a child of this process, which the kernel ends with the run (PR_SET_PDEATHSIG) and which inherits all
orphans below it (PR_SET_CHILD_SUBREAPER). Linux only, as the rest.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
GRACE_S = 10.0  # for the server to end its workers by itself
KILL_S = 10.0  # a process in a driver's call dies late
NOT_STARTED = 127  # as a shell says that there is no such command
WATCHED = (signal.SIGTERM, signal.SIGCHLD)


def hold(parent: int, command: list[str]) -> int:
    """Run a command to its end, or until SIGTERM; gives its exit code, or 128 and the number of the signal."""
    _control(PR_SET_CHILD_SUBREAPER, 1)
    _control(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    if os.getppid() != parent:
        return 0  # it died before it could be watched
    server = os.fork()  # no thread was ever started here
    if server == 0:
        _become(command)
    code: int | None = None
    while code is None and signal.sigwait(WATCHED) != signal.SIGTERM:
        code = _reap().get(server)
    if code is None:
        code = _end(server)
    _kill_rest()
    return code


def _become(command: list[str]) -> None:
    try:
        os.setsid()  # Ctrl-C is for the run, which then ends the server in order
        _control(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.execv(command[0], command)  # noqa: S606 - the interpreter and arguments that the run chose
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _end(server: int) -> int:
    os.kill(server, signal.SIGTERM)
    until_s = time.monotonic() + GRACE_S
    while (left_s := until_s - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left_s)
        if (code := _reap().get(server)) is not None:
            return code
    return 128 + signal.SIGTERM


def _kill_rest() -> None:
    until_s = time.monotonic() + KILL_S
    while time.monotonic() < until_s and (left := list(_children())):
        for child in left:
            os.kill(child, signal.SIGKILL)  # ours to reap, so the number is still theirs
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
        _reap()


def _reap() -> dict[int, int]:
    """Collect the children that ended, with their exit codes."""
    ended: dict[int, int] = {}
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if child == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[child] = code if code >= 0 else 128 - code


def _children() -> Iterator[int]:
    yield from map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(hold(int(sys.argv[1]), sys.argv[2:]))
