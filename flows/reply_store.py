# SPDX-License-Identifier: Apache-2.0
"""Where the replies of a run lie: one SQLite file that survives kills, full disks and damage."""

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar, cast

from flows.atomic import describe_free_space, refuse_symlink, storage_errors
from flows.failpoints import failpoint
from generators.chat import ChatReply, FinishReason, TokenLogprobs
from validators.errors import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")

_FORMAT: Final = 2  # 2: first_token
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    text BLOB NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    first_token TEXT NOT NULL,
    checksum TEXT NOT NULL
)
"""
COLUMNS: Final = "text, finish_reason, prompt_tokens, completion_tokens, first_token"


class Spent(NamedTuple):
    """Calls that were paid for, and their tokens, read and written."""

    calls: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens


class ReplyStore:
    """Replies in one SQLite file, for all threads of a run; a damaged file is moved aside and a new one begun.

    With `alone` no other process may open it meanwhile, which SQLite needs on a network file system.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self._path = path
        self._alone = alone
        self._lock = threading.RLock()
        self._closed = False
        self._spent: Spent | None = None
        self._spent_at = 0
        """The sum as it was when no other process had written since: a budget is looked at before each shard, and
        summing up a hundred thousand replies takes a tenth of a second."""
        refuse_symlink(path)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._run(lambda db: int(db.execute("SELECT count(*) FROM replies").fetchone()[0]))

    def spent(self) -> Spent:
        """Sum up what all replies cost; what was read by a reader of its own costs none of it."""
        query = (
            "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) "
            "FROM replies WHERE prompt_tokens > 0"
        )
        with self._lock:
            changed_by_others = self._run(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]))
            if self._spent is None or self._spent_at != changed_by_others:
                self._spent = Spent(*self._run(lambda db: db.execute(query).fetchone()))
                self._spent_at = changed_by_others
            return self._spent

    @property
    def size(self) -> int:
        """Bytes of all pages, those too that still lie in SQLite's log."""
        pages = (f"PRAGMA page_{what}" for what in ("count", "size"))
        count, size = (self._run(lambda db, ask=ask: int(db.execute(ask).fetchone()[0])) for ask in pages)  # type: ignore[misc]
        return count * size

    def adopt(self, other: Path) -> None:
        """Take over the replies of another store that is closed; what is known here stays as it is."""
        names = f"key, {COLUMNS}, checksum"

        def copy(db: sqlite3.Connection) -> None:
            db.execute("ATTACH DATABASE ? AS other", (str(other),))
            try:
                db.execute(f"INSERT OR IGNORE INTO replies ({names}) SELECT {names} FROM other.replies")  # noqa: S608
            finally:
                db.execute("DETACH DATABASE other")

        self._run(copy)
        self._spent = None

    def get(self, key: str) -> ChatReply | None:
        """Give the reply stored under a key, if there is a whole one."""
        query = f"SELECT {COLUMNS}, checksum FROM replies WHERE key = ?"  # noqa: S608 - a constant, no value
        return read_row(self._path, key, self._run(lambda db: db.execute(query, (key,)).fetchone()))

    def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply; when this returns, killing the process does not lose it. After `close` it is dropped."""
        if self._closed:
            return
        with storage_errors(self._path):
            failpoint("after_reply_before_store")
        row = (
            _encode(reply.text),
            reply.finish_reason,
            reply.prompt_tokens,
            reply.completion_tokens,
            json.dumps(reply.first_token),  # in ASCII, which also holds half a character; floats come back exactly
        )
        values = (key, *row, _checksum(key, row))
        with self._lock:
            self._run(lambda db: db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", values))
            if self._spent is not None and reply.prompt_tokens > 0:
                self._spent = Spent(
                    self._spent.calls + 1,
                    self._spent.prompt_tokens + reply.prompt_tokens,
                    self._spent.completion_tokens + reply.completion_tokens,
                )
        with storage_errors(self._path):
            failpoint("after_store")

    def take_in(self, other: "ReplyStore") -> None:
        """Copy what another store holds; what both hold stays as it is here."""
        query = f"SELECT key, {COLUMNS}, checksum FROM replies"  # noqa: S608 - a constant, no value
        rows = other._run(lambda db: db.execute(query).fetchall())
        self._run(lambda db: _insert(db, rows))
        self._spent = None

    def settle(self) -> None:
        """Bring everything into the one file, so that `FrozenReplies` of other processes can read it."""
        self._run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, self._storage_errors():
            try:
                return work(self._connection)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._connection.close()
                self._move_aside(error)
                self._connection = self._open()
                self._spent = None
                return work(self._connection)

    def _open(self) -> sqlite3.Connection:
        with self._storage_errors():
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside(error)
                return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # each statement commits by itself; the lock, not sqlite3, keeps threads apart
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            if self._alone:
                # the index of the log is then kept in memory and not in a mapped file, which network file systems lack
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise _DamagedError("quick_check found damage")
            connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL loses no reply when the process is killed. A power cut may take the last ones, which are asked
            # again; FULL would wait for the disk at every reply.
            connection.execute("PRAGMA synchronous = NORMAL")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in {0, _FORMAT}:
                raise StorageError(
                    f"{self._path.name} has format {found}, and this version of affectory knows {_FORMAT}",
                    where=str(self._path),
                    next_step="use the version that made it, or move the file away and have the replies asked again",
                )
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        """Keep a damaged file for whoever wants to rescue replies from it; never delete what was paid for."""
        n = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{n}")).exists():
            n += 1
        with storage_errors(self._path):
            for suffix in ("", "-wal", "-shm"):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.replace(aside.with_name(aside.name + suffix))
        log.warning("%s is damaged (%s); moved to %s, and a new one is begun", self._path, error, aside.name)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot use {self._path.name}: {error}",
                where=f"{self._path} ({describe_free_space(self._path)})",
                next_step="free some space or make the folder writable, and run the same command again",
            ) from error


def read_row(path: Path, key: str, row: tuple[Any, ...] | None) -> ChatReply | None:
    """Read a row as it was found under a key; None if there was none, or a damaged one."""
    if row is None:
        return None
    *values, checksum = row
    if _checksum(key, tuple(values)) != checksum:
        log.warning("a reply in %s is damaged and will be asked again", path)
        return None
    text, finish_reason, prompt_tokens, completion_tokens, first_token = values
    return ChatReply(
        text=_decode(text),
        finish_reason=cast(FinishReason, finish_reason),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        first_token=_read_tokens(first_token),
    )


def _insert(db: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    with db:  # one commit: of 64 rows a commit, ten times faster than each by itself
        db.execute("BEGIN")
        db.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


class _DamagedError(sqlite3.DatabaseError):
    """The check at opening found damage that no error code told of."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)  # absent where sqlite3 itself, not SQLite, raises
    return code & 0xFF in _DAMAGE  # the low byte is the primary code


def _checksum(key: str, row: tuple[object, ...]) -> str:
    # SQLite has no checksum of its own: a flipped bit would come back as a reply
    return hashlib.sha256(repr((key, *row)).encode()).hexdigest()[:16]


def _read_tokens(stored: str) -> TokenLogprobs:
    return tuple((token, logprob) for token, logprob in json.loads(stored))


def _encode(text: str) -> bytes:
    # a server can send a lone surrogate; it is a gate's to reject, and must not stop the run here
    return text.encode("utf-8", "surrogatepass")


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
