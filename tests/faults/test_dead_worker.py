# SPDX-License-Identifier: Apache-2.0
"""A run on a cluster ends as on one machine, also when a machine of it dies on the way."""

import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("prefect_ray", reason="make setup-cluster")

from tests.doubles.ray_nodes import SETTINGS, RayNode, ray_cluster
from tests.flows.builds import command, run_build, write_recipe

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.timeout(1500),  # two nodes, each tried again on a busy machine
    pytest.mark.usefixtures("prefect_server"),
]

SLOW = "writer.options={delay_s: 0.3}"  # so that there is something to kill


def wait_for_work(node: RayNode, build: "subprocess.Popen[str]") -> None:
    while not node.workers("utterances"):
        assert build.poll() is None, build.communicate()[1]
        time.sleep(0.1)


def test_a_node_is_killed_on_the_way(tmp_path):
    recipe = write_recipe(tmp_path, rows=60)
    run_build(recipe, tmp_path / "one", SLOW)
    with ray_cluster() as (head, other):
        output = tmp_path / "many"
        arguments = ["build", str(recipe), "--output", str(output), "--set", SLOW, "--set", "runner=ray"]
        build = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments, "--set", f"cluster.address={head.address}"],
            env=os.environ | SETTINGS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_work(other, build)
        other.kill()
        told = build.communicate(timeout=1200)
        assert build.returncode == 0, told[1]
    assert (output / "manifest.json").read_bytes() == (tmp_path / "one" / "manifest.json").read_bytes()
    assert not list(output.glob("work/replies/*.sqlite"))
    assert "kept" in told[0]
    again = command("build", recipe, "--output", output, "--set", SLOW)
    assert "no model was called" in again.stdout
