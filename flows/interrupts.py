# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: stop within seconds, whatever the engine is doing. What is on disk is whole at any moment."""

import os
import signal
import sys
import threading
from typing import Final

INTERRUPTED: Final = 130
GRACE_S: Final = 6.0  # an engine may decode for a minute before its thread looks up; then work is cut off

_installed = threading.Event()
_came = threading.Event()


def install() -> None:
    """Handle both signals from now on."""
    _installed.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def came() -> bool:
    """Whether a signal came: compiled libraries (pydantic's) make errors of their own of KeyboardInterrupt."""
    return _came.is_set()


def reinstall() -> None:
    """Take the signals back after Prefect's flow engine has put its own handler in place; no-op if never ours."""
    if _installed.is_set() and threading.current_thread() is threading.main_thread():
        install()


def _interrupt(signum: int, frame: object) -> None:
    _came.set()
    cut_off = threading.Timer(GRACE_S, os._exit, (INTERRUPTED,))
    cut_off.daemon = True
    cut_off.start()
    sys.stderr.write("\nInterrupted. Run the same command again to go on; what was answered is stored.\n")
    sys.stderr.flush()
    raise KeyboardInterrupt
