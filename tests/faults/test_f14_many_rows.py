# SPDX-License-Identifier: Apache-2.0
"""Fifty thousand rows under a cap of 2 GB of memory: found duplicates, a release and its check take less than 1.2 GB,
never a matrix of rows by rows. A usual run takes 12,000 rows, `--soak` all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault

MOST_BYTES = 1_200_000_000
CAP_BYTES = 2_000_000_000

WORK = """
import json, resource, sys
from pathlib import Path
cap, n_rows, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
import numpy as np
from flows.manifest import verify_release, write_manifest, write_release_tables
from tests.flows.shards import CARD, open_tiny, utterance
from validators.duplicates import near_duplicates
from validators.schemas import UTTERANCES, REJECTED, to_table
chance = np.random.default_rng(14)
vectors = chance.standard_normal((n_rows, 384), dtype=np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
ids = [f"u-{n // 1000:05d}-{n % 1000:04d}" for n in range(n_rows)]
for one in range(10):
    vectors[-1 - one] = vectors[one]
found = near_duplicates(ids, vectors, similarity=0.9)
row = utterance()
with open_tiny(root) as run:
    tables = []
    for start in range(0, n_rows, 1000):
        part = ids[start : start + 1000]
        rows = [row.model_copy(update={"utterance_id": one, "text": f"{one} " * 8}) for one in part]
        table = to_table(rows, UTTERANCES)
        run.write_shard("utterances", start // 1000, planned=len(rows), kept=table, rejected=REJECTED.empty_table())
    import pyarrow as pa
    whole = pa.concat_tables([run.read_shard("utterances", n)[0] for n in range(n_rows // 1000)])
    run.card.write_text(CARD)
    run.quality.write_text("{}")
    (run.root / "croissant.json").write_text("{}")
    write_manifest(run, write_release_tables(run, {"utterances": {"train": whole}}))
problems = verify_release(root)
# not getrusage: there a process begins with the peak of the one that started it
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"duplicates": len(found), "problems": problems, "rows": whole.num_rows, "peak": peak}))
"""


def test_the_peak_of_memory_stays_low(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    n_rows = 50_000 if request.config.getoption("--soak") else 12_000
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORK, str(CAP_BYTES), str(n_rows), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert told["duplicates"] == 10
    assert told["problems"] == []
    assert told["rows"] == n_rows
    assert told["peak"] < MOST_BYTES
