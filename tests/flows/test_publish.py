# SPDX-License-Identifier: Apache-2.0
"""Publishing, driven by the real client against a Hub on loopback: one commit, compared, tagged, or nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from flows.manifest import read_manifest
from flows.publishing import publish
from flows.release_audit import SECRETS
from tests.doubles.hub import LoopbackHub
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH
from validators.errors import GateError, InputError
from validators.personal_data import CARD_NUMBER, EMAIL, PHONE, is_card

pytestmark = pytest.mark.server

REPO = "me/feelings"
TOKEN = "hf_" + "loopbackloopbackloopback"
OPEN = (
    *READ,
    "writer={backend: echo, licence: Apache-2.0}",
    "dialogues.writers={second: {backend: echo, name: second, licence: MIT}}",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=12, extra=DIALOGUES.replace("18", "4") + SPEECH)


@pytest.fixture(scope="module")
def first(recipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "first"
    build_in_turn(recipe, root, *OPEN)
    return root


@pytest.fixture(scope="module")
def second(recipe, first, tmp_path_factory):
    """The next version: more utterances, the dialogues as they were."""
    root = tmp_path_factory.mktemp("built") / "second"
    shutil.copytree(first, root)
    build_in_turn(recipe, root, *OPEN, "utterances.rows=18")
    return root


@pytest.fixture
def root(first, tmp_path):
    return shutil.copytree(first, tmp_path / "release")


@pytest.fixture
def hub(monkeypatch):
    with LoopbackHub() as loopback:
        monkeypatch.setattr(constants, "ENDPOINT", loopback.url)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", constants.HF_URL_HOSTS | {"127.0.0.1"})
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("flows.publishing.FIRST_WAIT_S", 0.01)
        yield loopback


def published(hub):
    repo = hub.repos[REPO]
    return repo.commits[repo.branches["main"]].files


def test_a_release_is_published_in_one_commit_compared_and_tagged(hub, root):
    done = publish(root, REPO)
    repo = hub.repos[REPO]
    assert repo.private
    assert len(repo.commits) == 2  # the Hub's own, and ours
    assert repo.tags == {"v1": done.commit} == {done.version: repo.branches["main"]}
    listed = {file.path for file in read_manifest(root).files}
    assert set(published(hub)) == {*listed, "manifest.json", ".gitattributes"}
    for path in listed:
        assert hub.blobs[published(hub)[path]] == (root / path).read_bytes()
    assert json.loads((root / "work/publish.json").read_bytes())["commit"] == done.commit


def test_what_is_published_already_is_not_published_again(hub, root):
    done = publish(root, REPO)
    hub.requests.clear()
    again = publish(root, REPO)
    assert (again.commit, again.version, again.adds, again.removes) == (done.commit, "v1", (), ())
    assert hub.sent("_lfs") == hub.sent("/commit/") == 0


def test_of_the_next_version_only_what_changed_travels_and_both_can_be_loaded(hub, root, second):
    before = publish(root, REPO)
    hub.requests.clear()
    after = publish(second, REPO)
    assert after.version == "v2"
    assert not any("data/dialogues/" in path for path in after.adds)
    assert after.unchanged > 0
    large = sum((second / path).stat().st_size for path in after.adds if path.endswith(".parquet"))
    assert hub.sent("_lfs") == large
    repo = hub.repos[REPO]
    assert repo.tags == {"v1": before.commit, "v2": after.commit}
    assert set(published(hub)) == {
        *(file.path for file in read_manifest(second).files),
        "manifest.json",
        ".gitattributes",
    }


def test_files_of_an_older_release_go_in_the_same_commit_and_a_persons_own_stay(hub, root):
    publish(root, REPO)
    stale = "data/utterances/train-00001-of-00002.parquet"
    hub.add_commit(REPO, {stale: b"old", "notes.txt": b"mine"})
    done = publish(root, REPO)
    assert done.removes == (stale,)
    assert stale not in published(hub)
    assert "notes.txt" in published(hub)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(hub, root):
    planned = publish(root, REPO, dry_run=True)
    assert planned.commit is None
    assert set(planned.adds) == {*(file.path for file in read_manifest(root).files), "manifest.json"}
    assert hub.repos == {}
    assert not (root / "work/publish.json").exists()


def test_a_repository_with_other_data_is_refused(hub, root):
    publish(root, "me/other")
    hub.repos[REPO] = hub.repos.pop("me/other")
    hub.repos[REPO].commits[hub.repos[REPO].branches["main"]].files = {"train.csv": hub._keep(b"a,b")}
    with pytest.raises(InputError, match=r"train\.csv"):
        publish(root, REPO)


def test_a_version_never_moves(hub, root, second):
    publish(root, REPO, version="2026-11")
    with pytest.raises(InputError, match="2026-11"):
        publish(second, REPO, version="2026-11")


def test_a_licence_that_does_not_let_everybody_pass_it_on_is_refused_until_somebody_allows_it(hub, recipe, tmp_path):
    build_in_turn(recipe, tmp_path / "out", *OPEN, "writer.licence=CC-BY-NC-4.0", "speech=null", "dialogues=null")
    with pytest.raises(GateError, match=r"CC-BY-NC-4\.0"):
        publish(tmp_path / "out", REPO)
    assert publish(tmp_path / "out", REPO, allow=["cc-by-nc-4.0"]).version == "v1"


ENV = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}


READ_BACK = """
import json, sys, datasets
found = {}
for config in datasets.get_dataset_config_names("me/feelings", revision="v1"):
    loaded = datasets.load_dataset("me/feelings", config, revision="v1")
    for split in loaded:
        if "audio" in loaded[split].features:
            loaded[split] = loaded[split].cast_column("audio", datasets.Audio(decode=False))
    streamed = datasets.load_dataset("me/feelings", config, revision="v1", streaming=True)
    n_streamed = 0
    for split in streamed.values():
        if "audio" in split.features:
            split = split.cast_column("audio", datasets.Audio(decode=False))
        n_streamed += sum(1 for _ in split)
    found[config] = [sum(len(split) for split in loaded.values()), n_streamed]
print(json.dumps(found))
"""


def test_datasets_loads_every_table_from_the_hub_streaming_and_not(hub, root, tmp_path):
    publish(root, REPO)
    env = {**os.environ, **ENV, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    ran = subprocess.run(
        [sys.executable, "-c", READ_BACK], env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows: dict[str, int] = {}
    for file in read_manifest(root).files:
        if file.rows is not None:
            config = Path(file.path).parts[1]
            rows[config] = rows.get(config, 0) + file.rows
    assert json.loads(ran.stdout) == {config: [count, count] for config, count in rows.items()}
    assert {"utterances", "dialogues", "clips", "recordings"} == set(rows)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (SECRETS, "her key hf_abcdefghijklmnopqrstuv was gone", True),
        (SECRETS, "https://ida:pass@example.org/x", True),
        (SECRETS, "he was half_asleep and sk-inny", False),
        (EMAIL, "write to ida.marek@example.org today", True),
        (EMAIL, "at ten @ the mill", False),
        (PHONE, "call +44 20 7946 0958 now", True),
        (PHONE, "(212) 555-0142", True),
        (PHONE, "in 1914 and 1939, 12.5 or 100 000", False),
        (CARD_NUMBER, "4111 1111 1111 1111", True),
        (CARD_NUMBER, "0.41111111111111111", False),
    ],
)
def test_what_is_searched_for_is_found_and_prose_is_not(pattern, text, found):
    assert bool(pattern.search(text)) == found


@pytest.mark.parametrize(
    ("digits", "told"), [("4111 1111 1111 1111", True), ("4111111111111112", False), ("0" * 16, False)]
)
def test_a_payment_card_is_told_by_its_check_digit(digits, told):
    assert is_card(digits) == told
