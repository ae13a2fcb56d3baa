# SPDX-License-Identifier: Apache-2.0
"""Time and memory of the duplicate search, beside semhash and a faiss search, on the same vectors.

    python -m tests.benchmarks.bench_duplicates [--sizes 10000 30000 100000] [--engines ours faiss semhash] [--json]

Every engine and size runs in a process of its own, bound to `--cores` cores with as many threads, one after the other.
`ours` is validators.duplicates.near_duplicates, `plain` the same without the bound that passes over most pairs, and
`partitioned` flows.partitioned with its vectors on disk (`--reach 0.5` for one that misses pairs). `semhash`
gets the same vectors through an encoder that returns them, as SemHash.from_records and self_deduplicate (index usearch,
its default). `faiss` is no deduplication, only the search that one would rest on: each block against all rows before
it, by IndexFlatIP.range_search; with `--faiss-every 50` one block in fifty is searched and its time counted fifty
times, for a million rows would take hours.
Ratios and growth are of CPU seconds, which say the same on a busy machine; `seconds` is the time that passed.
Residual pairs are pairs of kept rows whose cosine still reaches the threshold, counted over all pairs.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.partitioned import PartitionedSearch
from validators import nearest
from validators.duplicates import near_duplicates
from validators.nearest import BLOCK_ROWS, MARGIN

DIMENSIONS = 384  # as all-MiniLM-L6-v2
TOPIC_ROWS = 50
RESIDUAL_ROWS = 200_000  # beyond, counting them takes longer than the search
REACH = "BENCH_REACH"
FAISS_EVERY = "BENCH_FAISS_EVERY"
CHUNK_ROWS = 2_000  # small, so that making the data does not set the peak

Vectors = NDArray[np.float32]


def make_vectors(n_rows: int, seed: int = 7) -> Vectors:
    """Draw unit vectors (n_rows, 384): topics of about 50 rows, and one row in ten close to an earlier row.

    Directions differ in variance by a power law, as in sentence embeddings. Rows of one topic have a cosine of about
    0.6; the close rows one between 0.86 and 1, so that some lie just below a threshold of 0.9.
    """
    random = np.random.default_rng(seed)
    spectrum = np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** -0.25

    def directions(n: int) -> Vectors:
        return _unit(random.standard_normal((n, DIMENSIONS), dtype=np.float32) * spectrum)

    topics = directions(max(1, n_rows // TOPIC_ROWS))
    vectors = np.empty((n_rows, DIMENSIONS), dtype=np.float32)
    for start in range(0, n_rows, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, n_rows)
        own = topics[random.integers(len(topics), size=stop - start)]
        block = _unit(np.float32(0.775) * own + np.float32(0.632) * directions(stop - start))
        close = np.flatnonzero(random.random(stop - start) < 0.1)[int(start == 0) :]
        earlier = random.integers(max(start, 1), size=len(close)) if start else np.zeros(len(close), dtype=np.int64)
        original = vectors[earlier] if start else block[earlier]
        cosine = random.uniform(0.86, 1, size=(len(close), 1)).astype(np.float32)
        noise = directions(len(close))
        noise = _unit(noise - (noise * original).sum(axis=1, keepdims=True) * original)
        block[close] = cosine * original + np.sqrt(1 - cosine**2) * noise
        vectors[start:stop] = block
    return vectors


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def keep_ours(vectors: Vectors, similarity: float, block_rows: int, cores: int) -> NDArray[np.int64]:
    """Return the rows that near_duplicates keeps."""
    ids = [f"{row:09}" for row in range(len(vectors))]
    dropped = near_duplicates(ids, vectors, similarity=similarity, block_rows=block_rows)
    return np.setdiff1d(np.arange(len(vectors)), [int(row.row_id) for row in dropped])


def keep_plain(vectors: Vectors, similarity: float, block_rows: int, cores: int) -> NDArray[np.int64]:
    """Return the rows that near_duplicates keeps, by comparing whole vectors."""
    nearest.BOUND_ROWS = len(vectors) + 1
    return keep_ours(vectors, similarity, block_rows, cores)


def keep_partitioned(vectors: Vectors, similarity: float, block_rows: int, cores: int) -> NDArray[np.int64]:
    """Return the rows that the search on disk keeps, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        search = PartitionedSearch(Path(folder) / "search", reach=float(os.environ.get(REACH, "1")))
        search.room(*vectors.shape)[:] = vectors
        ids = [f"{row:09}" for row in range(len(vectors))]
        dropped = search.near_duplicates(ids, similarity=similarity)
    return np.setdiff1d(np.arange(len(vectors)), [int(row.row_id) for row in dropped])


def keep_semhash(vectors: Vectors, similarity: float, block_rows: int, cores: int) -> NDArray[np.int64]:
    """Return the rows that semhash keeps."""
    from semhash import SemHash

    class Precomputed:
        def encode(self, inputs: Any, **kwargs: Any) -> Vectors:
            return vectors[[int(text) for text in inputs]]

    texts = [f"{row:09}" for row in range(len(vectors))]
    result = SemHash.from_records(texts, model=Precomputed()).self_deduplicate(threshold=similarity)
    return np.array(sorted(int(text) for text in result.selected), dtype=np.int64)


def keep_faiss(vectors: Vectors, similarity: float, block_rows: int, cores: int) -> NDArray[np.int64]:
    """Search each block in all rows before it with faiss, and keep everything."""
    import faiss

    faiss.omp_set_num_threads(cores)
    index = faiss.IndexFlatIP(vectors.shape[1])
    every = int(os.environ.get(FAISS_EVERY, "1"))
    for number, start in enumerate(range(0, len(vectors), block_rows)):
        block = vectors[start : start + block_rows]
        if start and number % every == every // 2:  # in the middle of those it stands for
            index.range_search(block, similarity - MARGIN)
        index.add(block)
    return np.arange(len(vectors))


ENGINES: dict[str, Callable[[Vectors, float, int, int], NDArray[np.int64]]] = {
    "ours": keep_ours,
    "plain": keep_plain,
    "partitioned": keep_partitioned,
    "faiss": keep_faiss,
    "semhash": keep_semhash,
}


def residual_pairs(vectors: Vectors, similarity: float) -> int:
    """Count the pairs of rows whose single-precision cosine reaches the threshold."""
    count = 0
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024]
        for other in range(0, start, 2048):
            count += int(np.count_nonzero(block @ vectors[other : min(other + 2048, start)].T >= similarity))
        count += int(np.count_nonzero(np.triu(block @ block.T, k=1) >= similarity))
    return count


def peak_mib() -> float:
    """Return the most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_mib() -> float:
    """Return the memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def measure(engine: str, n_rows: int, similarity: float, block_rows: int, cores: int) -> dict[str, Any]:
    """Run one engine on one size in this process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    vectors = make_vectors(n_rows)
    ENGINES[engine](vectors[:2000], similarity, block_rows, cores)  # imports, first calls
    before = held_mib()
    started, used = time.perf_counter(), time.process_time()
    kept = ENGINES[engine](vectors, similarity, block_rows, cores)
    times = int(os.environ.get(FAISS_EVERY, "1")) if engine == "faiss" else 1
    seconds, cpu_s = (time.perf_counter() - started) * times, (time.process_time() - used) * times
    found: dict[str, Any] = {
        "engine": engine,
        "rows": n_rows,
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu_s, 2),
        "peak_mib": round(peak_mib()),
        "added_mib": round(peak_mib() - before),
        "block_rows": block_rows if engine != "semhash" else None,
        "kept": None if engine == "faiss" else len(kept),
    }
    counted = engine != "faiss" and n_rows <= RESIDUAL_ROWS
    found["residual_pairs"] = residual_pairs(vectors[kept], similarity) if counted else None
    return found


def measure_apart(engine: str, n_rows: int, options: argparse.Namespace, block_rows: int) -> dict[str, Any]:
    """Run one engine on one size in a process of its own."""
    threads = str(options.cores)
    command = [sys.executable, "-m", "tests.benchmarks.bench_duplicates", "--child", engine, "--sizes", str(n_rows)]
    command += ["--similarity", str(options.similarity), "--cores", threads, "--block-rows", str(block_rows)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    environment |= {REACH: str(options.reach), FAISS_EVERY: str(options.faiss_every)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print one line for each engine and size, with the growth since the size before and the ratio to ours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--reach", type=float, default=1.0, help="of the partitioned search; below 1 it misses pairs")
    parser.add_argument("--faiss-every", type=int, default=1, help="search with faiss one block in so many")
    parser.add_argument("--block-rows", type=int, nargs="+", default=[BLOCK_ROWS])
    parser.add_argument("--similarity", type=float, default=0.9)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=list(ENGINES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        found = measure(options.child, options.sizes[0], options.similarity, options.block_rows[0], options.cores)
        print(json.dumps(found))
        return
    results: list[dict[str, Any]] = []
    for n_rows in options.sizes:
        ours: dict[str, Any] | None = None
        for engine in options.engines:
            for block_rows in options.block_rows if engine != "semhash" else [BLOCK_ROWS]:
                found = measure_apart(engine, n_rows, options, block_rows)
                ours = ours or (found if engine == "ours" else None)
                found["ratio"] = round(found["cpu_s"] / max(ours["cpu_s"], 0.01), 2) if ours else None
                found["exponent"] = _exponent(found, results)
                results.append(found)
                if not options.json:
                    print("  ".join(f"{key} {value}" for key, value in found.items() if value is not None), flush=True)
    if options.json:
        print(json.dumps(results, indent=1))


def _exponent(found: dict[str, Any], earlier: list[dict[str, Any]]) -> float | None:
    """Return e where CPU seconds grew as rows**e since the last size of the same engine and block size."""
    same = [row for row in earlier if (row["engine"], row["block_rows"]) == (found["engine"], found["block_rows"])]
    if not same or same[-1]["rows"] == found["rows"]:
        return None
    growth = max(found["cpu_s"], 0.01) / max(same[-1]["cpu_s"], 0.01)
    return round(math.log(growth) / math.log(found["rows"] / same[-1]["rows"]), 2)


if __name__ == "__main__":
    main()
