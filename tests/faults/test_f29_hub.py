# SPDX-License-Identifier: Apache-2.0
"""A Hub that stumbles, loses its answer, refuses, holds something else, or is committed to meanwhile, and a publisher
killed on the way: a reader sees the old release or the new one at every moment, there is one commit, at most six tries,
and the same command again does what is left."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, constants

from flows.manifest import read_manifest
from flows.publishing import TRIES, publish
from flows.run_identity import MANIFEST
from flows.sealed import unseal
from tests.doubles.hub import LoopbackHub
from tests.flows.builds import build_in_turn, command, write_recipe
from validators.errors import HubError

pytestmark = [pytest.mark.fault, pytest.mark.server]

REPO = "me/feelings"
TOKEN = "hf_" + "loopbackloopbackloopback"
ENV = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
SETTINGS = ("writer.licence=Apache-2.0", "utterances.contextual_rows=0")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A release, and the next version of it."""
    folder = tmp_path_factory.mktemp("versions")
    recipe = write_recipe(folder, rows=12)
    build_in_turn(recipe, folder / "first", *SETTINGS)
    shutil.copytree(folder / "first", folder / "second")
    build_in_turn(recipe, folder / "second", *SETTINGS, "utterances.rows=18")
    return folder / "first", folder / "second"


@pytest.fixture
def root(versions: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(versions[0], tmp_path / "release")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    with LoopbackHub() as loopback:
        monkeypatch.setattr(constants, "ENDPOINT", loopback.url)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("flows.publishing.FIRST_WAIT_S", 0.01)
        yield loopback


def published(hub: LoopbackHub) -> dict[str, str]:
    repo = hub.repos[REPO]
    return repo.commits[repo.branches["main"]].files


def assert_whole(hub: LoopbackHub) -> None:
    """What a reader gets at this moment is nothing, or one release in which every file is as its manifest says."""
    if REPO not in hub.repos or MANIFEST not in published(hub):
        assert REPO not in hub.repos or set(published(hub)) <= {".gitattributes"}
        return
    files = published(hub)
    listed = unseal(hub.blobs[files[MANIFEST]])["files"]
    assert isinstance(listed, list)
    assert {file["path"] for file in listed} == set(files) - {MANIFEST, ".gitattributes"}
    assert all(len(hub.blobs[files[file["path"]]]) == file["bytes"] for file in listed)


@pytest.mark.parametrize("status", ["429", "500", "503", "lost"])
def test_a_hub_that_stumbles_at_every_step_is_asked_again(hub: LoopbackHub, root: Path, status: str) -> None:
    stumbled: set[str] = set()

    def once(method: str, path: str) -> str:
        key = path.rpartition("/")[0]
        if key in stumbled or (status == "lost" and "/commit/" not in path):
            return ""
        stumbled.add(key)
        return status

    hub.script = once
    done = publish(root, REPO)
    assert hub.repos[REPO].tags == {"v1": done.commit}
    assert len(hub.repos[REPO].commits) == 2
    assert_whole(hub)


@pytest.mark.parametrize("error", [httpx2.ReadError, httpx2.ReadTimeout, httpx2.RemoteProtocolError])
def test_a_connection_that_breaks_after_the_commit_is_recognised_as_done(
    hub: LoopbackHub, root: Path, monkeypatch: pytest.MonkeyPatch, error: type[httpx2.TransportError]
) -> None:
    commit = HfApi.create_commit
    calls = 0

    def broken(self: HfApi, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        commit(self, *arguments, **more)
        raise error("the connection was reset")

    monkeypatch.setattr(HfApi, "create_commit", broken)
    done = publish(root, REPO)
    assert calls == 1
    assert hub.repos[REPO].tags == {"v1": done.commit}
    assert len(hub.repos[REPO].commits) == 2


def test_a_hub_that_cannot_be_reached_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # bound, not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("flows.publishing.FIRST_WAIT_S", 0.01)
        with pytest.raises(HubError, match="cannot be reached") as caught:
            publish(root, REPO)
    assert caught.value.exit_code == 4
    assert "check the network" in caught.value.next_step


def test_a_client_that_may_not_ask_the_hub_is_told(root: Path) -> None:
    result = command("publish", root, "--repo", REPO, env={"HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN})
    assert result.returncode == 4
    assert "HF_HUB_OFFLINE" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("status", "advice"), [("403", "the token may not write"), ("503", "again later")])
def test_a_hub_that_never_takes_it_is_told_after_a_few_tries(
    hub: LoopbackHub, root: Path, status: str, advice: str
) -> None:
    hub.script = lambda method, path: status if "/commit/" in path else ""
    with pytest.raises(HubError, match=status) as caught:
        publish(root, REPO)
    assert advice in caught.value.next_step
    assert caught.value.exit_code == 4
    assert sum("/commit/" in path for _, path, _ in hub.requests) <= TRIES <= 6
    assert len(hub.repos[REPO].commits) == 1


def test_whoever_commits_meanwhile_is_never_overwritten(hub: LoopbackHub, root: Path) -> None:
    def meanwhile(method: str, path: str) -> str:
        if "/commit/" in path and len(hub.repos[REPO].commits) == 1:
            hub.add_commit(REPO, {"notes.txt": b"theirs"})
        return ""

    hub.script = meanwhile
    with pytest.raises(HubError, match="Somebody else"):
        publish(root, REPO)
    assert set(published(hub)) == {".gitattributes", "notes.txt"}
    assert hub.repos[REPO].tags == {}


def test_what_the_hub_holds_is_compared_and_not_believed(hub: LoopbackHub, root: Path) -> None:
    def swap(method: str, path: str) -> str:
        if "/tree/" in path and len(hub.repos[REPO].commits) == 2:
            published(hub)["quality.json"] = hub._keep(b"{}")
        return ""

    hub.script = swap
    with pytest.raises(HubError, match=r"quality\.json"):
        publish(root, REPO)
    assert hub.repos[REPO].tags == {}


def test_a_reader_sees_the_old_release_or_the_new_one(hub: LoopbackHub, versions: tuple[Path, Path]) -> None:
    first, second = versions
    publish(first, REPO)
    hub.add_commit(REPO, {"data/utterances/train-00001-of-00002.parquet": b"of an older release"})
    looked = 0

    def look(method: str, path: str) -> str:
        nonlocal looked
        looked += 1
        if "data/utterances/train-00001-of-00002.parquet" not in published(hub):
            assert_whole(hub)
        return ""

    hub.script = look
    done = publish(second, REPO)
    assert looked > 5
    assert done.removes == ("data/utterances/train-00001-of-00002.parquet",)
    assert set(published(hub)) == {*(file.path for file in read_manifest(second).files), MANIFEST, ".gitattributes"}
    assert_whole(hub)


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_sent(hub: LoopbackHub, root: Path) -> None:
    hub.script = lambda method, path: "400" if "validate-yaml" in path else ""
    with pytest.raises(HubError):
        publish(root, REPO)
    assert hub.repos == {}
    assert hub.sent("_lfs") == 0


@pytest.mark.parametrize(
    "failpoint", ["after_upload:1:kill", "before_commit:1:kill", "after_commit:1:kill", "after_commit:1:term"]
)
def test_ended_while_publishing_and_started_again_it_is_published_once(
    hub: LoopbackHub, root: Path, failpoint: str
) -> None:
    env = {**ENV, "HF_ENDPOINT": hub.url}
    ended = command("publish", root, "--repo", REPO, env={**env, "AFFECTORY_FAILPOINT": failpoint})
    assert ended.returncode == (-signal.SIGKILL if "kill" in failpoint else 130), ended.stderr
    assert hub.repos[REPO].tags == {}
    assert len(published(hub)) == 1 or "after_commit" in failpoint
    assert_whole(hub)
    hub.requests.clear()
    again = command("publish", root, "--repo", REPO, env=env)
    assert again.returncode == 0, again.stderr
    assert hub.sent("_lfs") == 0
    assert len(hub.repos[REPO].commits) == 2
    assert hub.repos[REPO].tags.keys() == {"v1"}


@pytest.mark.parametrize("at_request", [3, 8])
def test_killed_at_a_request_and_started_again(hub: LoopbackHub, root: Path, at_request: int) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str) -> str:
        if len(hub.requests) == at_request:
            started[0].kill()
        return ""

    hub.script = kill
    env = {**ENV, "HF_ENDPOINT": hub.url}
    arguments = [sys.executable, "-m", "flows.cli", "publish", str(root), "--repo", REPO]
    started.append(subprocess.Popen(arguments, env={**os.environ, **env}))
    assert started[0].wait(240) == -signal.SIGKILL
    assert_whole(hub)
    hub.script = lambda method, path: ""
    result = command("publish", root, "--repo", REPO, env=env)
    assert result.returncode == 0, result.stderr
    assert len(hub.repos[REPO].commits) == 2
    assert hub.repos[REPO].tags.keys() == {"v1"}
    assert_whole(hub)
