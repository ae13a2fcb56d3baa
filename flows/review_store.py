# SPDX-License-Identifier: Apache-2.0
"""Answers of raters in one SQLite file beside the release: each is on the disk before its page is told so."""

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from flows.atomic import describe_free_space, refuse_symlink, storage_errors
from flows.review_items import Place
from validators.errors import StorageError

FORMAT: Final = 1
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS raters (rater TEXT, kind TEXT, key_sha256 TEXT UNIQUE, PRIMARY KEY (rater, kind))",
    "CREATE TABLE IF NOT EXISTS places (rater TEXT, kind TEXT, position INTEGER, place TEXT NOT NULL, "
    "PRIMARY KEY (rater, kind, position))",
    "CREATE TABLE IF NOT EXISTS answers (rater TEXT, kind TEXT, position INTEGER, labels TEXT NOT NULL, "
    "answered_ms INTEGER NOT NULL, PRIMARY KEY (rater, kind, position))",
)

Labels = list[tuple[str, int]]
"""What was perceived: label and intensity."""


@dataclass(frozen=True, slots=True)
class Rater:
    """Who rates, and what."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the place that it answers."""

    rater: Rater
    position: int
    place: Place
    labels: Labels
    answered_ms: int


class ReviewStore:
    """The answers of a release; may be used by several threads, and by several servers at once."""

    def __init__(self, path: Path) -> None:
        refuse_symlink(path.parent)
        refuse_symlink(path)
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        with self._errors():
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # an answer that the page was told of survives a power cut
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in {0, FORMAT}:
                raise StorageError(
                    f"{path.name} has format {found}, and this version of affectory knows {FORMAT}",
                    where=str(path),
                    next_step="use the version that made it",
                )
            for table in _TABLES:
                self._db.execute(table)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def begin(self, rater: Rater, order: Callable[[], Sequence[Place]]) -> str:
        """A new key for a rater, whose order is drawn once and stays; earlier keys of theirs end."""
        key = secrets.token_urlsafe(18)
        with self._write() as db:
            known = db.execute("SELECT 1 FROM raters WHERE rater = ? AND kind = ?", (rater.name, rater.kind)).fetchone()
            if known is None:
                rows = [
                    (rater.name, rater.kind, position, json.dumps(asdict(place)))
                    for position, place in enumerate(order())
                ]
                db.executemany("INSERT INTO places VALUES (?, ?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO raters VALUES (?, ?, ?)", (rater.name, rater.kind, _hash(key)))
        return key

    def rater(self, key: str) -> Rater | None:
        """Whose key it is."""
        row = self._read("SELECT rater, kind FROM raters WHERE key_sha256 = ?", (_hash(key),))
        return Rater(*row[0]) if row else None

    def places(self, rater: Rater) -> list[Place]:
        """The order of a rater."""
        rows = self._read(
            "SELECT place FROM places WHERE rater = ? AND kind = ? ORDER BY position", (rater.name, rater.kind)
        )
        return [Place(**json.loads(place)) for (place,) in rows]

    def answer(self, rater: Rater, position: int, labels: Labels) -> None:
        """Store an answer, in place of an earlier one to the same place."""
        row = (rater.name, rater.kind, position, json.dumps(labels), time.time_ns() // 1_000_000)
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)

    def answers_of(self, rater: Rater) -> dict[int, Labels]:
        """What a rater has answered, by place."""
        rows = self._read("SELECT position, labels FROM answers WHERE rater = ? AND kind = ?", (rater.name, rater.kind))
        return {position: [(label, strength) for label, strength in json.loads(labels)] for position, labels in rows}

    def answers(self) -> list[Answer]:
        """All answers, in the order of raters and places."""
        rows = self._read(
            "SELECT rater, kind, position, place, labels, answered_ms FROM answers "
            "JOIN places USING (rater, kind, position) ORDER BY kind, rater, position",
            (),
        )
        return [
            Answer(
                Rater(rater, kind), position, Place(**json.loads(place)), [(a, b) for a, b in json.loads(labels)], when
            )
            for rater, kind, position, place, labels, when in rows
        ]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _read(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._lock, self._errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot use {self._path.name}: {error}",
                where=f"{self._path} ({describe_free_space(self._path)})",
                next_step="free some space or make the folder writable, and run the same command again; answers that "
                "pages were told of are in the file",
            ) from error


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
