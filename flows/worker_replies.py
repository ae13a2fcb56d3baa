# SPDX-License-Identifier: Apache-2.0
"""Replies where several processes ask: each worker has files of its own, which the driver puts into the run's.

work/replies.sqlite             what was paid for before this command; nobody writes to it while workers read it
work/replies/<worker>-*.sqlite  what a worker was answered, a file a shard

SQLite belongs to one process where it lies on a network file system. What a dead worker was answered for the shard that
it had open is in its file and is used from the next command on; within this command another worker asks it again.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from flows.atomic import storage_errors
from flows.reply_store import COLUMNS, ReplyStore, Spent, read_row
from flows.run_folder import RunFolder
from generators.chat import ChatReply
from validators.errors import StorageError

log = logging.getLogger(__name__)


class Replies(Protocol):
    """Where replies are kept by what produced them."""

    def get(self, key: str) -> ChatReply | None:
        """Give the reply stored under a key, if there is one."""
        ...

    def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply."""
        ...

    def spent(self) -> Spent:
        """Sum up what was paid for."""
        ...

    @property
    def size(self) -> int:
        """Bytes on disk."""
        ...


class FrozenReplies:
    """A settled store that nobody writes to, read by many processes at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with _told(path):
            # immutable: no lock is taken, and the log beside the file is not looked for
            uri = f"{path.absolute().as_uri()}?immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def get(self, key: str) -> ChatReply | None:
        """Give the reply stored under a key, if there is a whole one."""
        query = f"SELECT {COLUMNS}, checksum FROM replies WHERE key = ?"  # noqa: S608 - a constant, no value
        with self._lock, _told(self._path):
            row = self._connection.execute(query, (key,)).fetchone()
        return read_row(self._path, key, row)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


class WorkerReplies:
    """What a worker was answered, file by file, in front of what the run had paid for before."""

    def __init__(self, folder: Path, worker: str, paid: Path) -> None:
        self._folder, self._worker = folder, worker
        self._paid = FrozenReplies(paid) if paid.exists() else None
        self._lock = threading.RLock()
        self._number = 0
        self._own: ReplyStore | None = None
        self._spent = Spent(0, 0, 0)

    def get(self, key: str) -> ChatReply | None:
        """Look among what this worker was answered for the shards it has open, then among what was paid for before."""
        with self._lock:
            own = self._own.get(key) if self._own else None
        return own or (self._paid.get(key) if self._paid else None)

    def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply; when this returns, killing the process does not lose it."""
        with self._lock:
            if self._own is None:
                self._own = ReplyStore(self._path(), alone=True)
            self._own.put(key, reply)
            if reply.prompt_tokens > 0:
                self._spent = Spent(
                    self._spent.calls + 1,
                    self._spent.prompt_tokens + reply.prompt_tokens,
                    self._spent.completion_tokens + reply.completion_tokens,
                )

    def spent(self) -> Spent:
        """What this worker paid for."""
        return self._spent

    @property
    def size(self) -> int:
        """Bytes of the file that is open; the others are the driver's."""
        with self._lock:
            return self._own.size if self._own else 0

    def rotate(self) -> Path | None:
        """Close the file of the shards that just ended, so that the driver can take it in; None where nothing was."""
        with self._lock:
            if self._own is None:
                return None
            self._own.close()
            self._own = None
            closed = self._path()
            self._number += 1
            return closed

    def close(self) -> None:
        """Close all files."""
        self.rotate()
        if self._paid:
            self._paid.close()

    def _path(self) -> Path:
        return self._folder / f"{self._worker}-{self._number:05d}.sqlite"


def gather_replies(store: ReplyStore, folder: RunFolder) -> None:
    """Put what workers were answered into the run's own store, and that into the object store if there is one.

    A file that its worker still holds open is left for the next command.
    """
    mirror = folder.mirror
    there = mirror.fetch_all(folder.worker_replies) if mirror else []
    for path in sorted(folder.worker_replies.glob("*.sqlite")) if folder.worker_replies.is_dir() else []:
        try:
            other = ReplyStore(path, alone=True)
        except StorageError as error:
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            log.info("%s is left for the next command: %s", path, error.what)
            continue
        try:
            store.take_in(other)
        finally:
            other.close()
        with storage_errors(path):
            path.unlink()
    store.settle()
    if mirror:
        mirror.push_changed(folder.replies)
        mirror.remove(*there)  # only now: the replies are in the file just put


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite can say about a frozen file into a `StorageError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot read {path.name}: {error}",
            where=str(path),
            next_step="let the same command run on one machine (runner: threads), which sets a damaged file aside",
        ) from error
