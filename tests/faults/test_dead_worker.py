# SPDX-License-Identifier: Apache-2.0
"""A run on a cluster ends as on one machine, also when a worker or a machine of it dies on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("prefect_ray", reason="make setup-cluster")
pytest.importorskip("prefect_dask", reason="make setup-cluster")

from tests.doubles.ray_nodes import SETTINGS, ray_cluster
from tests.flows.builds import command, run_build, write_recipe

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.timeout(1500),  # nodes that are started again on a busy machine
    pytest.mark.usefixtures("prefect_server"),
]

SLOW = "writer.options={delay_s: 0.3}"  # so that there is something to kill


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> tuple[Path, bytes]:
    """The recipe, and the manifest that one machine makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = write_recipe(folder, rows=60)
    run_build(recipe, folder / "out", SLOW)
    return recipe, (folder / "out" / "manifest.json").read_bytes()


@contextmanager
def building(recipe: Path, output: Path, *settings: str) -> Iterator["subprocess.Popen[str]"]:
    arguments = ["build", str(recipe), "--output", str(output)]
    for setting in (SLOW, *settings):
        arguments += ["--set", setting]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=os.environ | SETTINGS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def worker_at_work(output: Path, build: "subprocess.Popen[str]", among: set[int] | None = None) -> int:
    """The process of a worker that has been answered something for the shard it has open."""
    while True:
        assert build.poll() is None, build.communicate()[1]
        for path in output.glob("work/replies/*.sqlite-wal"):
            pid = int(path.name.rsplit("-", 4)[1])
            if among is None or pid in among:
                return pid
        time.sleep(0.05)


def assert_as_alone(build: "subprocess.Popen[str]", output: Path, alone: tuple[Path, bytes]) -> None:
    told = build.communicate(timeout=1200)
    assert build.returncode == 0, told[1]
    assert (output / "manifest.json").read_bytes() == alone[1]
    assert not list(output.glob("work/replies/*.sqlite"))
    again = command("build", alone[0], "--output", output, "--set", SLOW)
    assert "no model was called" in again.stdout


@pytest.mark.soak
def test_a_node_of_ray_is_killed_on_the_way(alone, tmp_path):
    output = tmp_path / "out"
    with (
        ray_cluster() as (head, other),
        building(alone[0], output, "runner=ray", f"cluster.address={head.address}") as build,
    ):
        while not other.workers("utterances"):
            assert build.poll() is None, build.communicate()[1]
            time.sleep(0.1)
        worker_at_work(output, build, set(other.workers("utterances")))
        other.kill()
        assert_as_alone(build, output, alone)


@pytest.mark.soak
def test_a_worker_of_dask_is_killed_on_the_way(alone, tmp_path):
    output = tmp_path / "out"
    with building(alone[0], output, "runner=dask", "cluster.workers=2") as build:
        os.kill(worker_at_work(output, build), signal.SIGKILL)
        assert_as_alone(build, output, alone)
