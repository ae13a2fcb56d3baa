# SPDX-License-Identifier: Apache-2.0
"""A build in an object store, killed and started again on a machine with an empty folder, ends as one never killed."""

import shutil
import signal

import pytest

pytest.importorskip("s3fs", reason="make setup-cluster")
pytest.importorskip("moto", reason="make setup-cluster")

from flows.object_store import ObjectStore
from tests.doubles.object_store import BUCKET, object_store
from tests.flows.builds import command, run_build, write_recipe

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.timeout(1500),  # four commands, and one build before the first
    pytest.mark.usefixtures("prefect_server"),
]

MOMENTS = [
    pytest.param("before_record_put:4", marks=pytest.mark.soak),
    "after_record_put:3",
    pytest.param("before_manifest_put:1", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module", autouse=True)
def server():
    with object_store():
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, prefect_server):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run_build(write_recipe(folder), folder / "out")
    return (folder / "out" / "manifest.json").read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_gone_on_with_elsewhere(uninterrupted, tmp_path, moment):
    recipe, url = write_recipe(tmp_path), f"s3://{BUCKET}/{moment.replace(':', '-')}"
    build = ("build", recipe, "--set", f"storage={url}", "--json", "--output")
    killed = command(*build, tmp_path / "here", env={"AFFECTORY_FAILPOINT": f"{moment}:kill"}, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = ObjectStore(url)
    assert store.read("manifest.json") is None
    before = store.list()
    shutil.rmtree(tmp_path / "here")

    result = command(*build, tmp_path / "there", timeout=600)
    assert result.returncode == 0, result.stderr
    assert store.read("manifest.json") == (tmp_path / "there" / "manifest.json").read_bytes() == uninterrupted
    assert store.read("run.lock") is None
    after = store.list()
    for path, listed in before.items():
        if path.endswith(".done.json"):
            assert after[path] == listed, f"{path} was made again"

    checked = command("check", url, "--into", tmp_path / "fetched")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (tmp_path / "fetched" / "manifest.json").read_bytes() == uninterrupted
    table = min(path for path in after if path.startswith("data/"))
    store.write(table, b"damaged")
    damaged = command("check", url)
    assert damaged.returncode == 1
    assert table in damaged.stdout
