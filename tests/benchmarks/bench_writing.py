# SPDX-License-Identifier: Apache-2.0
"""What a durable shard costs beside plain pyarrow.

    python -m tests.benchmarks.bench_writing [--rows 500] [--shards 40]

`plain` is pyarrow's write_table with zstd; `hashed` the same and SHA-256 of the file; `ours` write_shard, which also
writes what was rejected and a record, syncs all three to the disk, reads the footer again and renames. `read` is
read_table, and `verified` read_shard as a new process does it: hashes, then the checksum of each page. Turns alternate.
`ms` is by the clock for one shard, since most of what durability costs is waiting; ratios are to the plain ones.
"""

import argparse
import hashlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.run_folder import RunFolder
from tests.flows.shards import open_tiny, rejected, utterance
from validators.schemas import REJECTED, UTTERANCES, to_table

STAGE = "utterances"
WORDS = ("lantern", "door", "left", "burning", "nobody", "came", "stayed", "yard", "crate", "wet", "carried", "asked")


def make_table(rows: int) -> pa.Table:
    """Utterances with a text of 20 words each."""
    chance = random.Random(rows)
    made = [
        utterance(utterance_id=f"u-00000-{row:06d}", text=" ".join(chance.choices(WORDS, k=20)), seed=row)
        for row in range(rows)
    ]
    return to_table(made, UTTERANCES)


def main() -> None:
    """Print a line of JSON for each way, with its ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=500, help="of a shard")
    parser.add_argument("--shards", type=int, default=40)
    options = parser.parse_args()
    table, lost = make_table(options.rows), to_table(rejected(options.rows // 10), REJECTED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with open_tiny(folder / "run") as run:
            report(folder, run, table, lost, options.shards)


def report(folder: Path, run: RunFolder, table: pa.Table, lost: pa.Table, shards: int) -> None:
    """Take turns, shard by shard, and print the medians."""

    def plain(index: int) -> Path:
        path = folder / f"plain-{index}.parquet"
        pq.write_table(table, path, compression="zstd")
        return path

    def hashed(index: int) -> None:
        with plain(index).open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def ours(index: int) -> None:
        run.write_shard(STAGE, index, planned=table.num_rows + lost.num_rows, kept=table, rejected=lost)

    def verified(index: int) -> None:
        run.verified.clear()
        assert run.read_shard(STAGE, index)[0].num_rows == table.num_rows

    ways: dict[str, tuple[str, Callable[[int], object]]] = {
        "plain": ("plain", plain),
        "hashed": ("plain", hashed),
        "ours": ("plain", ours),
        "read": ("read", lambda index: pq.read_table(folder / f"plain-{index}.parquet")),
        "verified": ("read", verified),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(shards):
        for name, (_, way) in ways.items():
            began_s = time.perf_counter()
            way(index)
            took[name].append(time.perf_counter() - began_s)
    ms = {name: 1000 * statistics.median(times) for name, times in took.items()}
    for name, (beside, _) in ways.items():
        print(json.dumps({"way": name, "ms": round(ms[name], 2), "ratio": round(ms[name] / ms[beside], 2)}))


if __name__ == "__main__":
    main()
