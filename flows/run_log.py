# SPDX-License-Identifier: Apache-2.0
"""The log of a run: JSON lines in work/run.log, and on the terminal warnings alone, or more where `-v` asks for it.

A line has time, level and message, and where they apply stage, shard and counts. Texts of rows are never logged, and
what looks like a key is blotted out.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from flows.atomic import refuse_symlink, storage_errors
from flows.patterns import SECRET
from validators.errors import AffectoryError

RUN_LOG = "run.log"
EVENTS = logging.getLogger("affectory")
"""What happens in a run: begins, stages, shards. On its own, since Prefect shows all that comes to the root logger."""
EVENTS.propagate = False
ROOMS = ("flows", "generators", "validators")
"""The loggers above all of ours, for warnings; those of libraries may say what they like, and so are left out."""


@contextmanager
def run_log(work: Path) -> Iterator[None]:
    """Write what our code logs to the log of a run, after what earlier commands wrote."""
    from pythonjsonlogger.json import JsonFormatter

    path = work / RUN_LOG
    refuse_symlink(path)
    with storage_errors(path):
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(
        _Blotted(
            JsonFormatter(
                ["levelname", "message"],
                rename_fields={"levelname": "level"},
                timestamp="time",
                json_ensure_ascii=False,
            )
        )
    )
    handler.setLevel(logging.INFO)
    EVENTS.setLevel(logging.INFO)
    for logger in _loggers():
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in _loggers():
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def telling(run: str, fingerprint: str) -> Iterator[None]:
    """Log when a run begins, and when and how it ends."""
    began_s = time.monotonic()
    EVENTS.info("run begins", extra={"run": run, "fingerprint": fingerprint})
    try:
        yield
    except BaseException as error:  # told to whoever ran the command; the log tells whoever comes later
        what = error.what if isinstance(error, AffectoryError) else ""
        EVENTS.info("run stops", extra={"error": type(error).__name__, "what": what})
        raise
    EVENTS.info("run ends", extra={"run": run, "wall_s": round(time.monotonic() - began_s, 2)})


def log_to_terminal(level: int) -> None:
    """Show what our code logs from a level on as plain lines on the error output."""
    handler = _Terminal()
    handler.setLevel(level)
    handler.setFormatter(_Blotted(_Counted()))
    for logger in _loggers():
        for other in [one for one in logger.handlers if isinstance(one, _Terminal)]:
            logger.removeHandler(other)
        logger.addHandler(handler)
        logger.setLevel(min(level, logging.INFO) if logger is EVENTS else level)
        logger.propagate = False  # Prefect would print it once more


def _loggers() -> list[logging.Logger]:
    return [EVENTS, *map(logging.getLogger, ROOMS)]


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to what is the error output at the time: progress bars put themselves in its place while they live."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Counted(logging.Formatter):
    """The message, and behind it stage, shard and counts where the record has them."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{key} {vars(record)[key]}" for key in _SHOWN if key in vars(record)]
        return super().format(record) + (f" ({', '.join(parts)})" if parts else "")


_SHOWN = ("stage", "shard", "planned", "kept", "rejected", "wall_s", "engine_share", "mean_slots")


class _Blotted(logging.Formatter):
    """What another formatter makes of a record, without keys and logins."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return SECRET.sub("***", self._inner.format(record))
