# SPDX-License-Identifier: Apache-2.0
"""A run on disk: who it is, which shards are done, and how a shard becomes done.

    outputs/<name>/
    ├── run.json                     recipe, identity, fingerprint; written first
    ├── run.lock                     held while a run is at work
    ├── work/<stage>/                part-00012.parquet, rejected-00012.parquet, part-00012.done.json
    ├── work/replies.sqlite          every reply that was paid for
    ├── data/<config>/               <split>-00000-of-00004.parquet
    ├── README.md                    the dataset card
    └── manifest.json                written last

Progress is what verifiably lies on disk, or in the object store of the run. A Parquet file that opens is no proof: one
that was closed by an exception opens too, with fewer rows. The done-record, written last, is.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import pyarrow as pa

from flows.atomic import refuse_symlink, storage_errors, write_bytes
from flows.done_records import AccountingError, DoneRecord, parse_record
from flows.failpoints import failpoint
from flows.file_checks import differs, marks_of
from flows.mirror import Mirror
from flows.parquet import read_parquet, write_parquet
from flows.run_identity import (
    CARD,
    DATA,
    MANIFEST,
    QUALITY,
    REPLIES,
    WORK,
    WORKER_REPLIES,
)
from flows.run_lock import RunLock
from flows.sealed import seal
from validators.errors import StorageError
from validators.schemas import REJECTED, SCHEMA_VERSION

log = logging.getLogger(__name__)

_STAGE: Final = re.compile(r"[a-z][a-z0-9_]{0,40}")
_DONE_NAME: Final = re.compile(r"part-(\d{5})\.done\.json")
_NO_COUNTS: Final[Mapping[str, int]] = MappingProxyType({})
MAX_SHARDS: Final = 100_000  # five digits in the file names


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder that this process, or its driver, holds the lock of. Made by `open_run`; close it, or use `with`."""

    root: Path
    fingerprint: str
    identity: Mapping[str, str]
    recipe: Mapping[str, object]
    lock: RunLock | None = None  # None in a worker: its driver holds it
    mirror: Mirror | None = None  # where the recipe names an object store, which then holds what is durable
    verified: dict[Path, tuple[tuple[int, int, int], ...]] = field(default_factory=dict, compare=False, repr=False)
    """Shards whose hashes were found right, with inode, size and time of their files as they were then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        for lock in (self.mirror.lock if self.mirror else None, self.lock):
            if lock is not None:
                lock.release()

    @property
    def work(self) -> Path:
        """Where the stages keep their shards."""
        return self.root / WORK

    @property
    def data(self) -> Path:
        """Where the tables of the release lie."""
        return self.root / DATA

    @property
    def replies(self) -> Path:
        """The reply store."""
        return self.work / REPLIES

    @property
    def worker_replies(self) -> Path:
        """Where workers of other processes keep replies until they are in the reply store."""
        return self.work / WORKER_REPLIES

    @property
    def card(self) -> Path:
        """The dataset card."""
        return self.root / CARD

    @property
    def quality(self) -> Path:
        """The figures of the release."""
        return self.root / QUALITY

    @property
    def manifest(self) -> Path:
        """The list of the release's files with their hashes."""
        return self.root / MANIFEST

    def kept_path(self, stage: str, index: int) -> Path:
        """Name the kept rows of a shard."""
        return self._stage_folder(stage) / f"part-{_checked(index):05d}.parquet"

    def rejected_path(self, stage: str, index: int) -> Path:
        """Name the rejected rows of a shard."""
        return self._stage_folder(stage) / f"rejected-{_checked(index):05d}.parquet"

    def done_path(self, stage: str, index: int) -> Path:
        """Name the done-record of a shard."""
        return self._stage_folder(stage) / f"part-{_checked(index):05d}.done.json"

    def write_shard(
        self,
        stage: str,
        index: int,
        *,
        planned: int,
        kept: pa.Table,
        rejected: pa.Table,
        counts: Mapping[str, int] = _NO_COUNTS,
    ) -> DoneRecord:
        """Write a shard so that a crash leaves either a whole one or none."""
        n_kept, n_rejected = kept.num_rows, rejected.num_rows
        if planned != n_kept + n_rejected:
            raise AccountingError(
                f"{planned} rows were planned, but {n_kept} kept and {n_rejected} rejected",
                where=f"stage {stage}, shard {index}",
                next_step="this is a bug in the stage; nothing was written",
            )
        if not rejected.schema.equals(REJECTED, check_metadata=True):
            raise TypeError(f"the rejected rows of stage {stage}, shard {index} are not of the schema REJECTED")
        failpoint("before_shard")
        folder = self._stage_folder(stage)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # an older record need not be removed first: its hashes do not fit what is written now
        reasons: Counter[str] = Counter(map(str, rejected.column("reason").to_pylist()))
        record = DoneRecord(
            stage=stage,
            index=index,
            planned=planned,
            kept=n_kept,
            rejected=n_rejected,
            reasons=dict(sorted(reasons.items())),
            counts=dict(sorted(counts.items())),
            kept_file=write_parquet(self.kept_path(stage, index), kept),
            rejected_file=write_parquet(self.rejected_path(stage, index), rejected),
            schema_version=SCHEMA_VERSION,
            fingerprint=self.fingerprint,
        )
        failpoint("before_done")
        sealed = seal(record.model_dump())
        if self.mirror is not None:
            self.mirror.push(self.kept_path(stage, index), self.rejected_path(stage, index))
            failpoint("before_record_put")
            self.mirror.put(self.done_path(stage, index), sealed)
            failpoint("after_record_put")
        write_bytes(self.done_path(stage, index), sealed)
        failpoint("after_done")
        return record

    def done(self, stage: str, index: int) -> DoneRecord | None:
        """Give the record of a shard that is whole on disk; anything less is not done and will be made again."""
        mirror = self.mirror
        record = None if mirror and not mirror.lock else self._done_here(stage, index)
        if record is None and mirror:
            mirror.fetch_shard(self.done_path(stage, index), (stage, index, self.fingerprint))
            record = self._done_here(stage, index)
        return record

    def forget(self, stage: str, index: int) -> None:
        """Have `done` look into the store next time: another process has made this shard."""
        if self.mirror is not None:
            with storage_errors(self.work):
                self.done_path(stage, index).unlink(missing_ok=True)

    def _done_here(self, stage: str, index: int) -> DoneRecord | None:
        path = self.done_path(stage, index)
        if not path.exists():
            return None
        with storage_errors(path):
            record = parse_record(path.read_bytes(), (stage, index, self.fingerprint), path)
        if record is None:
            return None
        files = {
            self.kept_path(stage, index): record.kept_file,
            self.rejected_path(stage, index): record.rejected_file,
        }
        # hashed once in a process, as long as no file changes: a stage asks several times for each shard
        seen = marks_of(path, *files)
        if seen and self.verified.get(path) == seen:
            return record
        for file, digest in files.items():
            problem = differs(file, digest)
            if problem:
                log.warning("%s %s; the shard is made again", file, problem)
                return None
        self.verified[path] = seen
        return record

    def read_shard(self, stage: str, index: int) -> tuple[pa.Table, pa.Table]:
        """Read kept and rejected rows of a finished shard, checking its hashes and the checksum of every page.

        Page checksums alone are not enough: of 1500 flipped bits, 21 (all in the footer) gave other rows unnoticed.
        """
        return self.read_kept(stage, index), self.read_rejected(stage, index)

    def read_kept(self, stage: str, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the kept rows of a finished shard alone, of all or some columns, checked in the same way."""
        self._check_done(stage, index)
        return read_parquet(self.kept_path(stage, index), columns)

    def read_rejected(self, stage: str, index: int) -> pa.Table:
        """Read the rejected rows of a finished shard alone, checked in the same way."""
        self._check_done(stage, index)
        return read_parquet(self.rejected_path(stage, index))

    def stage_records(self, stage: str) -> list[DoneRecord]:
        """List the finished shards of a stage by index; each is verified."""
        folder = self._stage_folder(stage)
        names = [_DONE_NAME.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
        indexes = {int(name[1]) for name in names if name} | (self.mirror.indexes(stage) if self.mirror else set())
        return [record for record in (self.done(stage, index) for index in sorted(indexes)) if record is not None]

    def _check_done(self, stage: str, index: int) -> None:
        if self.done(stage, index) is None:
            raise StorageError(
                f"shard {index} of stage {stage} is missing or damaged",
                where=str(self.kept_path(stage, index)),
                next_step="run the same command again; the shard is made again",
            )

    def _stage_folder(self, stage: str) -> Path:
        if _STAGE.fullmatch(stage) is None:
            raise ValueError(f"{stage!r} cannot name a stage: lower case letters, digits and _ only")
        folder = self.work / stage
        refuse_symlink(self.work)
        refuse_symlink(folder)
        return folder


def _checked(index: int) -> int:
    if not 0 <= index < MAX_SHARDS:
        raise ValueError(f"shard {index} is outside 0 to {MAX_SHARDS - 1}")
    return index
