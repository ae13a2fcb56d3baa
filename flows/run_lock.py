# SPDX-License-Identifier: Apache-2.0
"""One run at a time in a folder, and no lock that outlives its run."""

import errno
import fcntl
import json
import logging
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from flows.atomic import refuse_symlink, storage_errors
from validators.errors import StorageError

log = logging.getLogger(__name__)

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock."""

    pid: int
    host: str
    boot_id: str

    @classmethod
    def here(cls) -> Self:
        """Name this process."""
        # other systems have no boot id; there the pid alone must do
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
        return cls(pid=os.getpid(), host=socket.gethostname(), boot_id=boot_id)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class RunLock:
    """The lock of a run folder, held from creation to `release`.

    The kernel frees a flock when its process dies, so a lock that can be taken was left by the dead. What is written
    in the file names the holder to a second run, and decides alone where the file system has no flock.
    """

    def __init__(self, path: Path) -> None:
        refuse_symlink(path)
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        self._path = path
        try:
            self._take()
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let other runs in; the file stays, since unlinking a lock lets two runs hold it."""
        try:
            os.ftruncate(self._descriptor, 0)
        finally:
            os.close(self._descriptor)

    def _take(self) -> None:
        flock_works = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._held_by(self._read_holder()) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            flock_works = False
        holder = self._read_holder()
        if holder is not None:
            if not flock_works and may_live(holder):
                raise self._held_by(holder)
            log.warning("took over the lock left by %s in %s", holder, self._path)
        with storage_errors(self._path):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(asdict(Holder.here())).encode(), 0)
            os.fsync(self._descriptor)

    def _read_holder(self) -> Holder | None:
        """Read who holds the lock; a torn or empty file names nobody."""
        try:
            content = json.loads(os.pread(self._descriptor, 4096, 0))
            return Holder(pid=int(content["pid"]), host=str(content["host"]), boot_id=str(content["boot_id"]))
        except (ValueError, KeyError, TypeError):
            return None

    def _held_by(self, holder: Holder | None) -> StorageError:
        next_step = "wait until it ends, or choose another --output folder"
        if holder is not None and not may_live(holder):
            next_step = "that process has ended, but a child of it is still running; end it, then run again"
        elif holder is not None and holder.host != Holder.here().host:
            next_step += f"; if that run is certainly gone, delete {self._path}"
        return StorageError(
            f"another run is at work in this folder: {holder or 'an unnamed process'}",
            where=str(self._path.parent),
            next_step=next_step,
        )


def may_live(holder: Holder) -> bool:
    """Whether a holder could still be running; what cannot be known counts as yes."""
    here = Holder.here()
    if holder.host != here.host:
        return True
    if holder.boot_id != here.boot_id:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True
