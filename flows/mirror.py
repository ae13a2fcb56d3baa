# SPDX-License-Identifier: Apache-2.0
"""A run in an object store: what is durable is there, and a folder of this machine is a working copy.

Objects have the paths of the files. Of a shard its tables are put first and its done-record last, of a release the
manifest last; a record or manifest of this machine is written after that of the store. So what is done here is done
there, and a run that was killed goes on anywhere.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows.atomic import digest_file, storage_errors, write_bytes
from flows.done_records import Identity, parse_record
from flows.failpoints import failpoint
from flows.identity import fingerprint
from flows.object_store import Listed, ObjectStore
from flows.run_identity import (
    DATA,
    MANIFEST,
    REPLIES,
    RUN_JSON,
    WORK,
    compare_identity,
    is_made,
    parse_identity,
    read_identity,
)
from flows.store_lock import StoreLock
from validators.errors import StorageError

_RECORD: Final = re.compile(rf"{WORK}/([a-z][a-z0-9_]*)/part-(\d{{5}})\.done\.json")


@dataclass(frozen=True, slots=True)
class Mirror:
    """The store of a run and the folder that is its working copy here."""

    store: ObjectStore
    root: Path
    lock: StoreLock | None
    """None in a worker: its driver holds the lock, and what the store has comes before what is here."""

    def path_of(self, file: Path) -> str:
        """The path of a file in the store."""
        return file.relative_to(self.root).as_posix()

    def push(self, *files: Path) -> None:
        """Upload files in this order."""
        for file in files:
            self._check()
            self.store.upload(file, self.path_of(file))

    def push_changed(self, file: Path) -> None:
        """Upload a file unless the store has it as it is here."""
        listed = self.store.list(self.path_of(file)).get(self.path_of(file))
        if listed is None or not _is_same(file, listed):
            self.push(file)

    def put(self, file: Path, content: bytes) -> None:
        """Write what a file is to hold, before it is written here."""
        self._check()
        self.store.write(self.path_of(file), content)

    def remove(self, *files: Path) -> None:
        """Remove what files held."""
        self._check()
        self.store.delete(self.path_of(file) for file in files)

    def has(self, file: Path) -> bool:
        """Whether the store has a file."""
        return self.store.etag(self.path_of(file)) is not None

    def fetch(self, file: Path) -> bool:
        """Download one small file in place of what is here; whether the store has it."""
        content = self.store.read(self.path_of(file))
        if content is None:
            return False
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)
        return True

    def fetch_all(self, folder: Path) -> list[Path]:
        """Download what the store has below a folder; gives the files."""
        files = [self.root / path for path in sorted(self.store.list(self.path_of(folder)))]
        for file in files:
            self.store.download(self.path_of(file), file)
        return files

    def fetch_shard(self, record: Path, expected: Identity) -> None:
        """Download a shard, its record last; what is no whole shard of this run is left where it is."""
        content = self.store.read(self.path_of(record))
        if content is None and self.lock is None:
            with storage_errors(record):
                record.unlink(missing_ok=True)  # of an earlier command
        found = parse_record(content, expected, f"{self.store.url}/{self.path_of(record)}") if content else None
        if content is None or found is None:
            return
        for file, digest in zip(_tables_of(record), (found.kept_file, found.rejected_file), strict=True):
            if not file.is_file() or digest_file(file) != digest:
                self.store.download(self.path_of(file), file)
        write_bytes(record, content)

    def indexes(self, stage: str) -> set[int]:
        """The shards of a stage that have a record in the store."""
        found = (_RECORD.fullmatch(path) for path in self.store.list(f"{WORK}/{stage}"))
        return {int(match[2]) for match in found if match}

    def begin(self, wanted: Mapping[str, str] | None) -> None:
        """Bring run.json here before the folder is opened; refuse a folder that holds another run than the store.

        `wanted` is the identity that the store's run must have, if any.
        """
        content = self.store.read(RUN_JSON)
        if content is None:
            return
        there = parse_identity(content, f"{self.store.url}/{RUN_JSON}")
        if wanted is not None:
            compare_identity(self.store.url, there, wanted)
        here = read_identity(self.root)
        if here is not None:
            compare_identity(self.root, here, there)
        write_bytes(self.root / RUN_JSON, content)

    def remove_made(self) -> None:
        """Remove what a run made from the store; run.json, the lock and the replies stay."""
        listed = self.store.list()
        self._check()
        self.store.delete(path for path in (MANIFEST, *sorted(listed)) if path in listed and is_made(path))

    def sync(self) -> None:
        """Bring here what only the store has, and there what is done here alone."""
        listed = self.store.list()
        self._sync_identity(listed)
        expected = fingerprint(read_identity(self.root) or {})
        for record in sorted((self.root / WORK).glob("*/part-*.done.json")):
            if self.path_of(record) not in listed:
                self.push(*_tables_of(record), record)
        for path in sorted(listed):
            match = _RECORD.fullmatch(path)
            if match and not _is_same(self.root / path, listed[path]):
                self.fetch_shard(self.root / path, (match[1], int(match[2]), expected))
        replies = f"{WORK}/{REPLIES}"
        if replies in listed and not (self.root / replies).exists():
            self.store.download(replies, self.root / replies)
        self._sync_release(listed)

    def push_release(self, files: Iterable[str]) -> None:
        """Upload a finished release, its manifest last."""
        listed, wanted = self.store.list(), set(files)
        for path in sorted(wanted):
            if path not in listed or not _is_same(self.root / path, listed[path]):
                self.push(self.root / path)
        self._check()
        self.store.delete(path for path in listed if path.startswith(f"{DATA}/") and path not in wanted)
        failpoint("before_manifest_put")
        self.push(self.root / MANIFEST)

    def _sync_identity(self, listed: Mapping[str, Listed]) -> None:
        file = self.root / RUN_JSON
        if RUN_JSON in listed:
            if not _is_same(file, listed[RUN_JSON]):
                self.push(file)
        elif self.store.create(RUN_JSON, file.read_bytes()) is None:
            raise StorageError(
                f"another run has begun in this store at this moment: {RUN_JSON} is there now",
                where=self.store.url,
                next_step="wait until it ends, or choose another storage",
            )

    def _sync_release(self, listed: Mapping[str, Listed]) -> None:
        if MANIFEST not in listed:
            with storage_errors(self.root):
                (self.root / MANIFEST).unlink(missing_ok=True)  # not all of its files are there; it is made anew
            return
        for path in (*sorted(path for path in listed if is_made(path) and not path.startswith(f"{WORK}/")), MANIFEST):
            if not _is_same(self.root / path, listed[path]):
                self.store.download(path, self.root / path)

    def _check(self) -> None:
        if self.lock is not None:
            self.lock.check()


def open_mirror(url: str, root: Path, *, is_worker: bool = False) -> Mirror:
    """Connect to the store of a run; a driver takes its lock."""
    store = ObjectStore(url)
    return Mirror(store, root, None if is_worker else StoreLock(store))


def _tables_of(record: Path) -> tuple[Path, Path]:
    number = record.name.removeprefix("part-").removesuffix(".done.json")
    return record.with_name(f"part-{number}.parquet"), record.with_name(f"rejected-{number}.parquet")


def _is_same(file: Path, listed: Listed) -> bool:
    """Whether a file is an object, as far as a listing tells; hashes in records and manifest tell the rest."""
    if not file.is_file() or file.stat().st_size != listed.bytes:
        return False
    in_parts = "-" in listed.etag  # put in several parts: the ETag is then no MD5 of the whole
    return in_parts or hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() == listed.etag
