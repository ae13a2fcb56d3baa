# SPDX-License-Identifier: Apache-2.0
"""A run that is killed while writing: each file is whole or absent, and the next run ends with the same bytes."""

import signal
from pathlib import Path

import pytest

from tests.flows.shards import N_SHARDS, content, open_tiny, run_elsewhere, write_run

pytestmark = pytest.mark.fault

KILLS = [
    "before_shard:1",
    "before_shard:2",
    "mid_shard:1",  # kept rows
    "mid_shard:2",  # rejected rows
    "before_rename:1",
    "before_rename:4",  # rejected rows of the second shard
    "after_rename:1",  # case 2: renamed, but no done-record
    "after_rename:2",
    "before_done:2",
    "after_done:1",
    "mid_shard:5",  # a file of the release
    "after_rename:6",
    "before_manifest:1",
    "after_manifest:1",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole") / "run"
    write_run(root)
    return content(root)


@pytest.mark.parametrize(
    "failpoint",
    [f"{kill}:kill" for kill in KILLS] + ["mid_shard:2:term", "mid_shard:2:raise", "before_rename:1:enospc"],
)
def test_whole_or_absent_and_then_the_same(tmp_path: Path, whole: dict[str, bytes], failpoint: str) -> None:
    root = tmp_path / "run"
    died = run_elsewhere("tests.flows.shards", str(root), failpoint=failpoint)
    name, _, action = failpoint.split(":")
    codes = {"kill": -signal.SIGKILL, "term": -signal.SIGTERM, "raise": 1, "enospc": 1}
    assert died.returncode == codes[action], died.stderr

    left = content(root)
    temps = [path for path in left if path.endswith(".tmp")]
    if action in {"raise", "enospc"}:
        assert temps == []
        assert ("no space left on the device" in died.stderr) == (action == "enospc")
    elif name == "mid_shard":
        assert len(temps) == 1
        assert left[temps[0]][:4] == b"PAR1"  # it was partly written
    for path in left.keys() - set(temps):
        assert left[path] == whole[path], f"{path} is neither whole nor absent"
    if action == "kill":
        assert ("manifest.json" in left) == (name == "after_manifest")

    finished = {path for path in left if path.endswith(".done.json")}
    written_at = {path: (root / path).stat().st_mtime_ns for path in finished}
    assert len(write_run(root)) == N_SHARDS - len(finished)
    assert content(root) == whole
    assert {path: (root / path).stat().st_mtime_ns for path in finished} == written_at  # finished ones are untouched


def test_a_shard_that_is_not_done_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run_elsewhere("tests.flows.shards", str(root), failpoint="before_done:2:kill")
    with open_tiny(root) as run:
        assert run.kept_path("evidence", 1).exists()
        assert run.done("evidence", 1) is None
        assert [record.index for record in run.stage_records("evidence")] == [0]
