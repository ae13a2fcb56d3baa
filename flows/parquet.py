# SPDX-License-Identifier: Apache-2.0
"""How tables become Parquet files and come back: same rows and same pyarrow, same bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from flows.atomic import FileDigest, storage_errors, write_file
from flows.failpoints import failpoint
from validators.errors import StorageError

SOUND_ROWS: Final = 100  # of a group where sound is inline, as the viewer wants them
ROW_GROUP_BYTES: Final = 100_000_000  # the Hub's viewer loads a whole row group to show a page of it


def write_parquet(path: Path, table: pa.Table) -> FileDigest:
    """Write a table atomically; its footer is read again before the file takes its place."""

    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(
            file,
            table.schema,
            compression="zstd",
            write_page_checksum=True,
            write_page_index=True,
            use_content_defined_chunking=True,  # equal stretches of two releases are stored and sent once
        ) as writer:
            # chunk borders would show in the bytes; they depend on how the table was put together
            for group in split_by_bytes(table.combine_chunks(), ROW_GROUP_BYTES):
                rows = SOUND_ROWS if "audio" in table.column_names else group.num_rows
                writer.write_table(group, row_group_size=max(1, rows))
            file.flush()
            failpoint("mid_shard")

    def check(temp: Path) -> None:
        n_rows = count_rows(temp)
        if n_rows != table.num_rows:
            what = f"{path.name} was written with {n_rows} rows instead of {table.num_rows}"
            raise StorageError(what, where=str(path), next_step="check the disk before running again")
        failpoint("before_rename")

    digest = write_file(path, write, check=check)
    failpoint("after_rename")
    return digest


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or some columns of it, checking the checksum of every page that is read."""
    with _damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=None if columns is None else list(columns))


def count_rows(path: Path) -> int:
    """Count rows by the footer alone."""
    with _damage(path), pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def check_pages(path: Path) -> int:
    """Decode every page, a row group at a time, and count the rows."""
    with _damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return sum(file.read_row_group(n).num_rows for n in range(file.num_row_groups))


def split_by_bytes(table: pa.Table, limit_bytes: int) -> Iterator[pa.Table]:
    """Halve a table until no part is larger in memory than the limit, or it is a single row."""
    if table.num_rows <= 1 or table.nbytes <= limit_bytes:
        yield table
        return
    middle = table.num_rows // 2
    yield from split_by_bytes(table.slice(0, middle), limit_bytes)
    yield from split_by_bytes(table.slice(middle), limit_bytes)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Name the file in whatever pyarrow says about one that is missing or damaged."""
    try:
        with storage_errors(path):
            yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:  # a flipped length asks for terabytes
        raise StorageError(
            f"{path.name} is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=str(path),
            next_step="run the same command again; what is damaged is made again",
        ) from error
