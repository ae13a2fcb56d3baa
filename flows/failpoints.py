# SPDX-License-Identifier: Apache-2.0
"""Named points at which a test can make a run die, so that surviving a crash is tested and not hoped for.

A no-op unless the environment variable AFFECTORY_FAILPOINT says `name:n:action`: at the n-th call of that name
the process kills itself (kill, term), raises `FailpointError` (raise) or meets a full disk (enospc).
"""

import errno
import os
import signal
import threading
from collections import Counter
from typing import Final, Literal, get_args

from validators.errors import InputError

VARIABLE: Final = "AFFECTORY_FAILPOINT"

Point = Literal[
    "before_shard",
    "mid_shard",
    "before_rename",
    "after_rename",
    "before_done",
    "after_done",
    "after_reply_before_store",
    "after_store",
    "before_record_put",
    "after_record_put",
    "before_manifest_put",
    "before_manifest",
    "after_manifest",
    "after_upload",
    "before_commit",
    "after_commit",
]
Action = Literal["kill", "term", "raise", "enospc"]


class FailpointError(RuntimeError):
    """The failure that a test asked for."""


_calls: Counter[str] = Counter()  # by name and the whole variable, so that a new setting counts anew
_lock = threading.Lock()


def failpoint(name: Point) -> None:
    """Fail here if the environment asks for it."""
    spec = os.environ.get(VARIABLE)
    if not spec:
        return
    wanted, at_call, action = _parse(spec)
    if wanted != name:
        return
    with _lock:
        _calls[spec] += 1
        call = _calls[spec]
    if call == at_call:
        _fail(name, action)


def reset() -> None:
    """Forget the calls counted so far."""
    with _lock:
        _calls.clear()


def _parse(spec: str) -> tuple[str, int, str]:
    name, _, rest = spec.partition(":")
    count, _, action = rest.partition(":")
    if name not in get_args(Point) or not count.isdecimal() or int(count) < 1 or action not in get_args(Action):
        raise InputError(
            f"{VARIABLE}={spec!r} is not name:n:action",
            next_step=f"unset it, or use one of {', '.join(get_args(Point))} with {', '.join(get_args(Action))}",
        )
    return name, int(count), action


def _fail(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    elif action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"failpoint {name}")
    else:
        raise FailpointError(name)
