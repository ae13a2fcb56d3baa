# SPDX-License-Identifier: Apache-2.0
"""A small run of two shards and a release, in this process or in one that a test kills: `python -m ... FOLDER`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from flows.failpoints import VARIABLE
from flows.manifest import write_manifest, write_release_tables
from flows.run_folder import RunFolder
from flows.run_opening import open_run
from validators.records import Evidence, Intended, RejectedRow, Utterance
from validators.schemas import EVIDENCE, REJECTED, to_table

IDENTITY = {"recipe": "tiny", "seed": "7"}
N_SHARDS = 2
CARD = """---
configs:
- config_name: evidence
  data_files:
  - split: train
    path: data/evidence/train-*.parquet
---
# Tiny
"""


def evidence(n: int, text: Callable[[int], str] = "cause {}".format) -> list[Evidence]:
    return [
        Evidence(story_id=f"s-{i:012x}", section=i % 3, character="Ada", label="joy", cause=text(i), origin="given")
        for i in range(n)
    ]


def rejected(n: int) -> list[RejectedRow]:
    return [
        RejectedRow(
            planned_id=f"u-00000-{i:04d}",
            stage="evidence",
            gate="length",
            reason="too_long" if i % 2 else "too_short",
            detail="",
            label="joy",
            attempt=1,
            seed=i,
            reply="…",
        )
        for i in range(n)
    ]


def utterance(**changes: object) -> Utterance:
    row = Utterance(
        utterance_id="u-00000-0000",
        story_id="s-0123456789ab",
        title="t",
        section=0,
        character="Ada",
        text="Look!",
        context=None,
        text_ambiguous=None,
        language="en",
        intended=Intended(label="joy", intensity=1, cause="c"),
        manner=None,
        canonical_label=None,
        perceived=None,
        perceived_in_context=None,
        perceived_ambiguous=None,
        perceived_ambiguous_in_context=None,
        realised=None,
        realised_at_first=None,
        attempts=1,
        writer="w",
        writer_licence="l",
        reader=None,
        prompt_sha256="0" * 64,
        seed=1,
        split="train",
        source="s",
        source_licence="l",
    )
    return row.model_copy(update=changes)


def open_tiny(root: Path, *, rebuild: bool = False) -> RunFolder:
    return open_run(root, identity=IDENTITY, recipe={"rows": 14}, rebuild=rebuild)


def write_tiny_shard(run: RunFolder, index: int, n_kept: int = 5, n_rejected: int = 2) -> None:
    run.write_shard(
        "evidence",
        index,
        planned=n_kept + n_rejected,
        kept=to_table(evidence(n_kept), EVIDENCE),
        rejected=to_table(rejected(n_rejected), REJECTED),
        counts={"asked": n_kept},
    )


def write_release(run: RunFolder) -> None:
    table = to_table(evidence(20), EVIDENCE)
    run.card.write_text(CARD, encoding="utf-8")
    run.quality.write_text("{}", encoding="utf-8")
    (run.root / "croissant.json").write_text("{}", encoding="utf-8")
    write_manifest(run, write_release_tables(run, {"evidence": {"train": table}}, shard_bytes=table.nbytes // 2))


def write_run(root: Path) -> list[int]:
    """Do what is left to do, and tell which shards that was."""
    with open_tiny(root) as run:
        missing = [index for index in range(N_SHARDS) if run.done("evidence", index) is None]
        for index in missing:
            write_tiny_shard(run, index)
        write_release(run)
    return missing


def run_elsewhere(module: str, *arguments: str, failpoint: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own, with a failpoint."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env=os.environ | {VARIABLE: failpoint},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def content(root: Path) -> dict[str, bytes]:
    """All that a run leaves, but for the lock."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "run.lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


if __name__ == "__main__":
    write_run(Path(sys.argv[1]))
