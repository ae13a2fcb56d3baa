# SPDX-License-Identifier: Apache-2.0
"""A build killed at named points and at random times ends, when started again, like one that was never killed."""

import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from tests.flows.builds import command, run_build, write_recipe

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

MOMENTS = [
    "after_reply_before_store:40",
    "mid_shard:3",
    "after_rename:5",
    "before_done:4",
    "after_done:5",
    "before_manifest:1",
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, prefect_server):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run_build(write_recipe(folder), folder / "out")
    return (folder / "out" / "manifest.json").read_bytes()


def shard_files(output):
    done = list(output.glob("work/*/part-*.done.json"))
    tables = [path.with_name(path.name.replace(".done.json", ".parquet")) for path in done]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in done + tables}


def assert_resumes_to(uninterrupted, recipe, output):
    finished_before = shard_files(output)
    result = command("build", recipe, "--output", output)
    assert result.returncode == 0, result.stderr
    assert (output / "manifest.json").read_bytes() == uninterrupted
    for path, content in finished_before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == content, f"{path.name} was redone"
    assert not list(output.rglob("*.tmp"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_named_moment(uninterrupted, tmp_path, moment):
    recipe, output = write_recipe(tmp_path), tmp_path / "out"
    killed = command("build", recipe, "--output", output, env={"AFFECTORY_FAILPOINT": f"{moment}:kill"})
    assert killed.returncode == -signal.SIGKILL
    assert not (output / "manifest.json").exists()
    assert_resumes_to(uninterrupted, recipe, output)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_a_random_time(uninterrupted, tmp_path, seed):
    recipe, output = write_recipe(tmp_path), tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-m", "flows.cli", "build", str(recipe), "--output", str(output)])
    while not (output / "run.json").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.Random(seed).uniform(0.0, 4.0))
    process.kill()
    process.wait()
    assert_resumes_to(uninterrupted, recipe, output)


def test_a_killed_build_repeats_only_what_was_in_flight(tmp_path):
    recipe, output = write_recipe(tmp_path), tmp_path / "out"
    whole = run_build(recipe, tmp_path / "whole").usage["calls"]
    command("build", recipe, "--output", output, env={"AFFECTORY_FAILPOINT": "after_store:60:kill"})
    again = run_build(recipe, output)
    assert again.usage["calls"] <= whole - 60
    assert sum(pq.read_table(path).num_rows for path in output.glob("data/utterances/*.parquet")) == again.kept
