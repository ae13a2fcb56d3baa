# SPDX-License-Identifier: Apache-2.0
"""A run in an object store: one run at a time, whole or absent, and the same on another machine."""

import itertools
import json
import time
from pathlib import Path

import pytest

pytest.importorskip("s3fs", reason="make setup-cluster")
pytest.importorskip("moto", reason="make setup-cluster")

from flows.manifest import verify_release
from flows.object_store import ObjectStore
from flows.run_folder import RunFolder
from flows.run_lock import Holder
from flows.run_opening import open_run
from flows.store_lock import NAME, StoreLock
from tests.doubles.object_store import BUCKET, object_store
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import IDENTITY, N_SHARDS, content, write_release, write_tiny_shard
from tests.flows.test_workers import build_on_worker
from validators.errors import RecipeMismatchError, StorageError

pytestmark = pytest.mark.server

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def server():
    with object_store():
        yield


@pytest.fixture
def url() -> str:
    return f"s3://{BUCKET}/runs/{next(_numbers)}"


def open_there(root: Path, url: str, *, rebuild: bool = False, rows: int = 14, **identity: str) -> RunFolder:
    recipe = {"utterances": {"rows": rows}}
    return open_run(root, identity=IDENTITY | identity, recipe=recipe, rebuild=rebuild, storage=url)


def check_for(lock: StoreLock, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        lock.check()
        time.sleep(0.05)


def test_objects_are_created_once_and_replaced_only_as_they_were_read(url):
    store = ObjectStore(url)
    first = store.create("a/b", b"one")
    assert first
    assert store.create("a/b", b"two") is None
    second = store.replace("a/b", b"three", first)
    assert second
    assert store.replace("a/b", b"four", first) is None
    assert store.read("a/b") == b"three"
    assert store.list() == {"a/b": (5, second.strip('"'))}
    store.delete(["a/b", "nothing"])
    assert store.read("a/b") is None
    assert store.etag("a/b") is None
    with pytest.raises(StorageError, match="does not serve a/b"):
        store.download("a/b", Path("/nowhere/b"))


def test_a_bucket_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StorageError, match="bucket exists"):
        open_there(tmp_path / "run", "s3://no-such-bucket/run")


def test_what_one_machine_made_another_goes_on_with(url, tmp_path):
    with open_there(tmp_path / "here", url) as run:
        write_tiny_shard(run, 0)
    with open_there(tmp_path / "there", url) as run:
        done = run.done("evidence", 0)
        assert done
        assert run.read_shard("evidence", 0)[0].num_rows == 5
        write_tiny_shard(run, 1)
        write_release(run)
        assert run.mirror
        run.mirror.push_release(
            path for path in content(run.root) if path.startswith(("data/", "README", "quality", "cr"))
        )
    with open_there(tmp_path / "here", url) as run:
        assert [record.index for record in run.stage_records("evidence")] == list(range(N_SHARDS))
    for name in ("here", "there"):
        assert verify_release(tmp_path / name) == []
    assert content(tmp_path / "here").keys() == content(tmp_path / "there").keys()


def test_a_damaged_object_is_made_again_and_a_damaged_file_is_fetched_again(url, tmp_path):
    with open_there(tmp_path / "run", url) as run:
        write_tiny_shard(run, 0)
        kept = run.kept_path("evidence", 0)
        kept.write_bytes(b"damaged")
        assert run.done("evidence", 0)
        assert run.mirror
        run.mirror.store.write("work/evidence/part-00000.parquet", b"damaged")
        kept.write_bytes(b"damaged")
        assert run.done("evidence", 0) is None


def test_a_second_run_is_refused_and_the_lock_of_the_dead_is_taken(url, tmp_path):
    store = ObjectStore(url)
    with open_there(tmp_path / "one", url), pytest.raises(StorageError, match="another run is at work"):
        open_there(tmp_path / "two", url)
    assert store.read(NAME) is None
    dead = {"pid": 2**22 + 1, "host": Holder.here().host, "boot_id": Holder.here().boot_id}
    store.write(NAME, json.dumps(dead).encode())
    open_there(tmp_path / "two", url).close()


def test_a_lock_of_another_machine_is_taken_when_it_is_no_longer_renewed(url):
    store = ObjectStore(url)
    store.write(NAME, json.dumps({"pid": 1, "host": "elsewhere", "boot_id": "x", "beat": 1}).encode())
    lock = StoreLock(store, lease_s=2.0, renew_s=0.2)
    with pytest.raises(StorageError, match="another run is at work"):  # it is renewed, or its process lives
        StoreLock(store, lease_s=2.0, renew_s=0.2)
    lock.check()
    store.write(NAME, b"{}")  # as if another had taken it
    with pytest.raises(StorageError, match="has lost its lock"):
        check_for(lock, seconds=30)
    lock.release()
    assert store.read(NAME) == b"{}"


def test_folder_and_store_of_different_runs_are_refused(url, tmp_path):
    open_there(tmp_path / "one", url).close()
    open_run(tmp_path / "two", identity=IDENTITY | {"seed": "8"}, recipe={}).close()
    with pytest.raises(RecipeMismatchError):
        open_there(tmp_path / "two", url)
    with pytest.raises(RecipeMismatchError):
        open_there(tmp_path / "three", url, seed="8")


def test_rebuilding_removes_what_was_made_there_too(url, tmp_path):
    with open_there(tmp_path / "run", url) as run:
        write_tiny_shard(run, 0)
    with open_there(tmp_path / "run", url, rebuild=True, seed="8") as run:
        assert run.done("evidence", 0) is None
        assert run.mirror
        assert set(run.mirror.store.list()) == {"run.json", NAME}


def test_a_server_that_ignores_conditions_is_refused(url, tmp_path, monkeypatch):
    def careless(self: ObjectStore, path: str, content: bytes) -> str | None:
        self.write(path, content)
        return self.etag(path)

    monkeypatch.setattr(ObjectStore, "create", careless)
    with pytest.raises(StorageError, match="takes no notice of conditions"):
        open_there(tmp_path / "run", url)


def test_workers_of_other_machines_share_a_run_through_the_store(url, tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path / "cache"))  # where the worker has its copy
    recipe = write_recipe(tmp_path, rows=24)
    build_in_turn(recipe, tmp_path / "one")
    build_on_worker(recipe, tmp_path / "many", f"storage={url}")
    manifest = (tmp_path / "one" / "manifest.json").read_bytes()
    store = ObjectStore(url)
    assert store.read("manifest.json") == manifest == (tmp_path / "many" / "manifest.json").read_bytes()
    assert not store.list("work/replies")  # they are in the run's one file, and that is there
    assert store.read("work/replies.sqlite") == (tmp_path / "many" / "work" / "replies.sqlite").read_bytes()
