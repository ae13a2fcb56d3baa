# SPDX-License-Identifier: Apache-2.0
"""Shards made by workers from what lies on disk: the same release, and failures that reach the driver whole.

The workers are of this process, or of one that is started for the test; tests/faults/test_dead_worker.py has Ray's.
"""

import json
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows import worker
from flows.build import build_release
from flows.clusters import check_api
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.release import Release
from flows.reply_store import ReplyStore, Spent
from flows.run_opening import open_run
from flows.runs import Run, open_run_of, read_inputs
from flows.shards import Failures, Shards, Turn
from flows.spending import read_spending
from flows.stopping import StopFile
from flows.worker import STOP, make_shard, write_command
from flows.worker_replies import WorkerReplies, gather_replies
from generators.chat import ChatReply
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import IDENTITY
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH
from validators.errors import DeferredError, InputError, ModelError, RecipeMismatchError

ALL = DIALOGUES.replace("18", "6") + SPEECH


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, rows=24, extra=ALL)


@contextmanager
def opened(recipe: Path, output: Path, *overrides: str) -> Iterator[tuple[Run, str]]:
    with open_run_of(read_inputs(load_recipe(recipe, overrides)), output, SilentProgress()) as run:
        yield run, write_command(run.folder, run.inputs)
        if worker._open is not None:
            worker._open.close()
            worker._open = None


def on_worker(run: Run, shards: Shards, command: str) -> str:
    turn = Turn(run, shards)
    for index in shards.indexes:
        if turn.is_to_make(index):
            run.hear(shards.stage, make_shard(run.recipe.storage or str(run.folder.root), command, shards.stage, index))
            run.folder.forget(shards.stage, index)  # as a driver does, who then looks where the worker wrote
    return turn.spent


def build_on_worker(recipe: Path, output: Path, *overrides: str) -> Release:
    with opened(recipe, output, *overrides) as (run, command):
        return build_release(run, lambda run, shards: on_worker(run, shards, command))


def test_workers_make_the_release_of_one_machine(recipe, tmp_path):
    alone = build_in_turn(recipe, tmp_path / "one", *READ)
    shared = build_on_worker(recipe, tmp_path / "many", *READ)
    assert (tmp_path / "many" / "manifest.json").read_bytes() == (tmp_path / "one" / "manifest.json").read_bytes()
    for figure in ("calls", "stored_replies", "prompt_tokens", "completion_tokens", "passages_read"):
        assert shared.usage[figure] == alone.usage[figure], figure
    # what workers were answered is the run's: whoever goes on asks nothing again
    assert not list((tmp_path / "many" / "work" / "replies").iterdir())
    counts = [len(ReplyStore(tmp_path / name / "work" / "replies.sqlite")) for name in ("one", "many")]
    assert counts[0] == counts[1] > 0


def test_budgets_and_what_was_paid_for_before_are_seen_by_workers(recipe, tmp_path):
    silent = (*READ, "dialogues=null", "speech=null", "shard_rows=4")
    first = build_on_worker(recipe, tmp_path / "out", *silent, "budget.calls=60")
    assert set(first.short.values()) == {"the budget of 60 calls is spent"}
    costs = read_spending(tmp_path / "out" / "work").costs
    assert sum(cost.calls for cost in costs.values()) == first.usage["calls"]  # workers tell what they asked, by kind
    of_lines = sum(cost.calls for kind, cost in costs.items() if kind not in {"characters", "evidence"})
    for path in (tmp_path / "out" / "work" / "utterances").iterdir():
        path.unlink()  # as if the shards were lost, with their replies paid for
    again = build_on_worker(recipe, tmp_path / "out", *silent)
    assert again.usage["stored_replies"] >= of_lines > 0  # the others were for evidence, which lies there
    assert again.kept > first.kept


def test_a_worker_with_other_stories_is_refused(recipe, tmp_path):
    with opened(recipe, tmp_path / "out", *READ) as (run, command):
        path = run.folder.work / worker.COMMAND
        content = json.loads(path.read_text())
        content["identity"]["stories_sha256"] = '"other"'
        path.write_text(json.dumps(content))
        with pytest.raises(RecipeMismatchError, match="stories_sha256"):
            make_shard(str(run.folder.root), command, "evidence", 0)
        with pytest.raises(InputError, match="does not see the run's folder"):
            make_shard(str(run.folder.root), "another", "evidence", 0)


def test_a_stop_reaches_workers_and_a_new_command_takes_it_away(recipe, tmp_path):
    with opened(recipe, tmp_path / "out", *READ) as (run, command):
        StopFile(run.folder.work / STOP).set()
        with pytest.raises(Exception, match="evidence") as caught:
            make_shard(str(run.folder.root), command, "evidence", 0)
        failures = Failures(run)
        with failures.noting():
            raise pickle.loads(pickle.dumps(caught.value))
        failures.raise_first()  # who gave up is no failure
        StopFile(run.folder.work / STOP).clear()
        further = write_command(run.folder, run.inputs)
        assert make_shard(str(run.folder.root), further, "evidence", 0).kept > 0


def test_errors_come_from_another_process_as_they_are():
    error = DeferredError("no answer", where="there", next_step="again")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is DeferredError
    assert isinstance(copy, ModelError)
    assert (str(copy), copy.what, copy.where, copy.next_step) == (str(error), "no answer", "there", "again")


REPLY = ChatReply("yes", "stop", 3, 1)
HOLDER = """
import sys, time
from pathlib import Path
from flows.worker_replies import WorkerReplies
from generators.chat import ChatReply
replies = WorkerReplies(Path(sys.argv[1]), "dead", Path(sys.argv[1]) / "none")
replies.put("key", ChatReply("yes", "stop", 3, 1))
print("stored", flush=True)
time.sleep(60)
"""


def test_replies_of_a_worker_that_lives_stay_with_it_and_of_a_dead_one_are_taken(tmp_path):
    with open_run(tmp_path / "run", identity=IDENTITY, recipe={}) as folder:
        store = ReplyStore(folder.replies)
        code = [sys.executable, "-W", "ignore", "-c", HOLDER, str(folder.worker_replies)]
        process = subprocess.Popen(code, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stored\n"
            gather_replies(store, folder)
            assert store.get("key") is None
        finally:
            process.kill()
            process.communicate()
        gather_replies(store, folder)
        assert store.get("key") == REPLY
        assert not list(folder.worker_replies.iterdir())
        mine = WorkerReplies(folder.worker_replies, "mine", folder.replies)
        assert mine.get("key") == REPLY
        mine.put("other", REPLY)
        assert (mine.get("other"), mine.spent()) == (REPLY, Spent(1, 3, 1))
        mine.close()
        store.close()
    with sqlite3.connect(folder.worker_replies / "mine-00000.sqlite") as db:
        assert db.execute("SELECT key FROM replies").fetchall() == [("other",)]


def test_a_cluster_of_several_machines_needs_a_server_that_all_reach(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    check_api({"10.0.0.1"}, "10.0.0.1")
    with pytest.raises(InputError, match=r"10\.0\.0\.2"):
        check_api({"10.0.0.1", "10.0.0.2"}, "10.0.0.1")
    monkeypatch.setenv("PREFECT_API_URL", "http://10.0.0.1:4200/api")
    check_api({"10.0.0.1", "10.0.0.2"}, "10.0.0.1")
