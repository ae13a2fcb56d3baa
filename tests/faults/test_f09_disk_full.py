# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up: the run stops with path, free bytes and next step, and goes on once there is room."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.replies import ReplyStore
from generators.chat import ChatReply, ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import content, evidence, open_tiny
from validators.errors import StorageError
from validators.schemas import EVIDENCE, REJECTED, to_table

pytestmark = pytest.mark.fault

NOISE = random.Random(9)
ROWS = to_table(evidence(200, lambda _: NOISE.randbytes(2500).hex()), EVIDENCE)  # about 600 kB when compressed
NONE = to_table([], REJECTED)


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    size = getattr(request, "param", "2m")
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    stat = os.statvfs(disk)
    ballast.write_bytes(b"\x00" * (stat.f_bavail * stat.f_frsize - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 100_000, 400_000])
def test_a_shard_on_a_full_disk(small_disk: Path, leave: int) -> None:
    with open_tiny(small_disk / "run") as run:
        run.write_shard("evidence", 0, planned=200, kept=ROWS, rejected=NONE)
        ballast = fill(small_disk, leave)
        before = content(run.root)
        with pytest.raises(StorageError, match="no space left on the device") as caught:
            run.write_shard("evidence", 1, planned=200, kept=ROWS, rejected=NONE)
        assert str(run.root) in caught.value.where
        assert "bytes free" in caught.value.where
        assert "free some space" in caught.value.next_step
        assert content(run.root) == before  # no temp file, no half shard, nothing marked done
        assert run.done("evidence", 0) is not None
        ballast.unlink()
        first = run.done("evidence", 0)
        second = run.write_shard("evidence", 1, planned=200, kept=ROWS, rejected=NONE)
        assert first is not None
        assert second.kept_file == first.kept_file


def put_many(store: ReplyStore, reply: ChatReply) -> None:
    for n in range(100):
        store.put(str(n), reply)


def test_replies_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "replies.sqlite"
    reply = ChatReply("x" * 50_000, "stop", 1, 1)
    with ReplyStore(path) as store:
        store.put("first", reply)
        ballast = fill(small_disk, 20_000)
        with pytest.raises(StorageError, match="full") as caught:
            put_many(store, reply)
        assert "bytes free" in caught.value.where
        assert store.get("first") == reply
        ballast.unlink()
        store.put("later", reply)
    with ReplyStore(path) as store:
        assert (store.get("first"), store.get("later")) == (reply, reply)


def test_a_run_does_not_begin_on_a_full_disk(small_disk: Path) -> None:
    ballast = fill(small_disk, 0)
    with pytest.raises(StorageError):
        open_tiny(small_disk / "run")
    ballast.unlink()
    open_tiny(small_disk / "run").close()


@pytest.mark.parametrize("small_disk", ["40m"], indirect=True)
@pytest.mark.parametrize("at_call", [3, 40, 100])
def test_a_build_whose_disk_fills_up_goes_on_once_there_is_room(
    small_disk: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, at_call: int
) -> None:
    recipe = write_recipe(tmp_path_factory.mktemp("recipe"), rows=24)
    build_in_turn(recipe, recipe.parent / "whole")
    filled: list[Path] = []

    def fill_up(number: int, request: ChatRequest, good: str) -> None:
        if number == at_call % 40 and not filled:
            filled.append(fill(small_disk, 0))

    answer_lines(monkeypatch, fill_up, '"line"' if at_call < 100 else "")
    with pytest.raises(StorageError) as caught:
        build_in_turn(recipe, small_disk / "out")
    assert "bytes free" in caught.value.where
    assert str(small_disk) in caught.value.where
    assert "space" in caught.value.next_step
    assert not list((small_disk / "out").rglob("*.tmp"))
    assert not (small_disk / "out" / "manifest.json").exists()
    filled[0].unlink()
    build_in_turn(recipe, small_disk / "out")
    whole = (recipe.parent / "whole" / "manifest.json").read_bytes()
    assert (small_disk / "out" / "manifest.json").read_bytes() == whole
