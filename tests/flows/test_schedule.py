# SPDX-License-Identifier: Apache-2.0
"""A schedule that fires on a real Prefect server: version after version, made in processes of their own, published."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from flows.manifest import verify_release
from flows.scheduled import EVENT, RESOURCE
from flows.versions import versions_in
from generators.backends.hashed import open_encoder
from generators.encoder import EncoderSettings
from tests.conftest import own_prefect
from tests.doubles.hub import LoopbackHub
from tests.flows.builds import command, rows, write_recipe
from validators.duplicates import find_duplicates

pytestmark = pytest.mark.server

REPO = "me/feelings"
TOKEN = "hf_" + "scheduledscheduledscheduled"
WITHIN_S = 200  # two fires and two builds take 40 s when the machine is quiet
OPEN = ("--set", "writer={backend: echo, licence: Apache-2.0}")


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, rows=8)


@pytest.fixture
def server(tmp_path):
    """One that starts what is due and keeps events, as `affectory schedule` starts it."""
    with own_prefect(tmp_path / "prefect", schedules=True) as url:
        yield url


@contextmanager
def scheduled(recipe, *options, env):
    """`affectory schedule ...` in a process of its own, ended as Ctrl-C in a terminal ends it and what it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "schedule", str(recipe), *map(str, options)],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def wait_until(happened, process):
    end_s = time.monotonic() + WITHIN_S
    while time.monotonic() < end_s:
        if happened():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.5)
    pytest.fail("the schedule did not bring what it should")


def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def events(api, dataset):
    """What the server was told of a dataset, the oldest first: the last word of each event, and its figures."""
    wanted = {"resource": {"id": [f"{RESOURCE}.{dataset}"]}, "order": "ASC"}
    found = ask(f"{api}/events/filter", {"filter": wanted})["events"]
    return [(one["event"].removeprefix(f"{EVENT}."), one["payload"]) for one in found]


def heard(api, dataset, what):
    """The events, once there is one of a kind: they travel beside the flow."""
    end_s = time.monotonic() + 30
    while what not in dict(found := events(api, dataset)) and time.monotonic() < end_s:
        time.sleep(0.2)
    return found


@pytest.mark.soak
def test_a_schedule_fires_twice_and_a_failed_version_leaves_the_last_good_one(recipe, tmp_path, server):
    root = tmp_path / "feelings"
    with LoopbackHub() as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        env["PREFECT_API_URL"] = server
        there = ("--versions", root, "--repo", REPO, *OPEN)
        with scheduled(recipe, "--every", "10", *there, env=env) as process:
            wait_until(lambda: REPO in hub.repos and len(hub.repos[REPO].tags) >= 2, process)
            (deployment,) = [
                one for one in ask(f"{server}/deployments/filter", {}) if one["parameters"].get("repo") == REPO
            ]
        first, second = versions_in(root)[:2]
        assert verify_release(first.folder) == verify_release(second.folder) == []
        repo = hub.repos[REPO]
        assert {"v1", "v2"} <= repo.tags.keys()

        texts = {
            f"{one.number}/{row['utterance_id']}": row["text"] for one in (first, second) for row in rows(one.folder)
        }
        encoder = open_encoder(EncoderSettings(name="hashed"))
        assert find_duplicates(list(texts), list(texts.values()), encoder, similarity=0.9)[0] == []

        # a version whose gates fail
        number = len(versions_in(root))
        tags, head = dict(repo.tags), repo.branches["main"]
        done = command("schedule", recipe, "--once", *there, "--set", "floors.kept_rows=1000", env=env)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "do not pass as a dataset" in done.stderr
        assert (repo.tags, repo.branches["main"]) == (tags, head)
        told = heard(server, root.name, "failed")
    assert [what for what, _ in told[:4]] == ["made", "published", "made", "published"]
    assert told[0][1]["kept"] == len(rows(first.folder))
    assert dict(told)["failed"]["version"] >= number
    # the key was in the environment alone
    assert TOKEN not in json.dumps(ask(f"{server}/flow_runs/filter", {}))
    assert TOKEN not in json.dumps(deployment)
    assert TOKEN not in json.dumps(told)
    assert not [path for path in root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def prefect(*arguments, folder, api):
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PREFECT_API_URL": api, "PWD": str(folder)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.soak
def test_a_worker_makes_the_version_of_the_deployment_in_prefect_yaml(recipe, tmp_path, repository, server):
    shutil.copy(repository / "prefect.yaml", tmp_path)
    prefect("work-pool", "create", "affectory", "--type", "process", folder=tmp_path, api=server)
    prefect("--no-prompt", "deploy", "--all", folder=tmp_path, api=server)
    run = ("deployment", "run", "affectory-next-version/weekly", "-p", f"recipe={recipe}", "-p", "versions=weekly")
    prefect(*run, folder=tmp_path, api=server)
    prefect("worker", "start", "--pool", "affectory", "--run-once", folder=tmp_path, api=server)
    (made,) = versions_in(tmp_path / "weekly")
    assert verify_release(made.folder) == []
