# SPDX-License-Identifier: Apache-2.0
"""Resumed with other slots, workers and order of shards than it was begun with: the release is the same."""

import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.build import build_release
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import Run, open_run_of, read_inputs
from flows.shards import MakeAll, Shards, Turn
from tests.faults.victims import ALL, TEXT, Case, new_case

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

SMALL_SHARDS = "shard_rows=5"


def backwards(run: Run, shards: Shards) -> str:
    turn = Turn(run, shards)
    for index in reversed(shards.indexes):
        turn.make(index)
    return turn.spent


def all_at_once(run: Run, shards: Shards) -> str:
    turn, shuffled = Turn(run, shards), list(shards.indexes)
    random.Random(7).shuffle(shuffled)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(turn.make, shuffled))
    return turn.spent


def build_by(case: Case, make_all: MakeAll, *settings: str) -> bytes:
    inputs = read_inputs(load_recipe(case.recipe, [*case.settings, *settings]))
    with open_run_of(inputs, case.output, SilentProgress()) as run:
        build_release(run, make_all)
    assert case.problems() == []
    return case.manifest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> bytes:
    case = new_case(tmp_path_factory.mktemp("whole"), TEXT)
    assert case.build("", SMALL_SHARDS).code == 0
    return case.manifest


@pytest.mark.parametrize("make_all", [backwards, all_at_once])
def test_the_order_of_shards_changes_nothing(whole: bytes, tmp_path: Path, make_all: MakeAll) -> None:
    assert build_by(new_case(tmp_path), make_all, SMALL_SHARDS) == whole


def test_resumed_with_another_number_of_slots_and_order(whole: bytes, tmp_path: Path) -> None:
    case = new_case(tmp_path)
    assert case.build("before_done:6:kill", SMALL_SHARDS, "writer.slots=7").code == -signal.SIGKILL
    assert build_by(case, backwards, SMALL_SHARDS, "writer.slots=1") == whole


@pytest.mark.soak
def test_resumed_with_more_workers_that_speak(tmp_path: Path) -> None:
    one = new_case(tmp_path / "one", ALL)
    assert one.build("", "speech.workers=1").code == 0
    other = new_case(tmp_path / "other", ALL)
    n_shards = len(list(one.output.glob("work/*/part-*.done.json")))
    assert other.build(f"before_done:{n_shards}:kill", "speech.workers=1").code == -signal.SIGKILL
    assert other.build("", "speech.workers=2", "speech.timeout_s=99").code == 0
    assert other.problems() == []
    assert other.manifest == one.manifest
