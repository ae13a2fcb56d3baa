# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows.manifest import verify_release
from generators.backends import echo
from tests.conftest import own_prefect
from tests.flows.builds import command, rows, run_build, write_recipe
from validators.errors import DeferredError, RecipeMismatchError

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, prefect_server):
    folder = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(folder)
    output = folder / "out"
    return recipe, output, run_build(recipe, output)


def test_every_planned_row_is_kept_or_rejected(finished):
    _, output, release = finished
    kept = rows(output)
    rejected = rows(output, "work/utterances/rejected-*.parquet") + rows(output, "work/duplicates/rejected-*.parquet")
    ids = [row["utterance_id"] for row in kept] + [row["planned_id"] for row in rejected]
    assert release.planned == release.kept + release.rejected == 40
    assert len(ids) == len(set(ids)) == 40


def test_load_dataset_opens_the_folder_and_no_story_is_in_two_splits(finished, tmp_path):
    from datasets import load_dataset

    _, output, release = finished
    loaded = load_dataset(str(output), cache_dir=str(tmp_path))
    assert sum(split.num_rows for split in loaded.values()) == release.kept
    stories = [set(split["story_id"]) for split in loaded.values()]
    assert sum(map(len, stories)) == len(set().union(*stories))
    assert set(loaded) == {"train", "validation", "test"}


def test_every_row_names_its_source_its_licence_and_what_made_it(finished):
    _, output, _ = finished
    for row in rows(output):
        assert row["source_licence"] == "CC0-1.0"
        assert row["writer"] == "echo"
        assert row["writer_licence"]
        assert len(row["prompt_sha256"]) == 64
        assert row["intended"]["cause"]


def test_a_finished_run_started_again_asks_no_model_and_changes_no_file(finished, asked):
    recipe, output, release = finished
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    before[output / "manifest.json"] = (output / "manifest.json").stat().st_mtime_ns
    again = run_build(recipe, output)
    assert asked == []
    assert again.kept == release.kept
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_same_recipe_makes_the_same_manifest_elsewhere_and_with_other_slots(finished, tmp_path):
    recipe, output, _ = finished
    run_build(recipe, tmp_path / "again", "writer.slots=3")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()


def test_another_recipe_in_the_same_folder_is_refused_with_the_differing_keys(finished):
    recipe, output, _ = finished
    with pytest.raises(RecipeMismatchError) as refusal:
        run_build(recipe, output, "gates.max_words=30")
    assert "gates.max_words: 45 -> 30" in str(refusal.value)
    assert verify_release(output) == []


def test_rebuilding_after_a_change_asks_only_what_changed(tmp_path, asked):
    recipe = write_recipe(tmp_path)
    run_build(recipe, tmp_path / "out")
    first = len(asked)
    run_build(recipe, tmp_path / "out", "gates.max_words=44", rebuild=True)
    assert len(asked) == first
    run_build(recipe, tmp_path / "out", "writer.temperature=0.9", rebuild=True)
    again = [request for request in asked[first:] if '"feelings"' in (request.schema or "")]
    assert len(asked) > first
    assert again == []  # evidence has a temperature of its own


def test_bad_replies_become_rejected_rows_with_their_reply(tmp_path):
    recipe = write_recipe(tmp_path)
    release = run_build(
        recipe,
        tmp_path / "out",
        "writer.options={faults: {garbage: 0.4, truncated: 0.3}}",
        "utterances.candidates=1",
        "gates.max_reason_share=0.9",
    )
    rejected = rows(tmp_path / "out", "work/utterances/rejected-*.parquet")
    assert {"unparsable", "truncated"} <= {row["reason"] for row in rejected}
    assert all(row["reply"] and row["seed"] and row["stage"] for row in rejected)
    assert release.planned == release.kept + release.rejected


def test_a_row_without_an_answer_leaves_its_shard_open_until_the_next_run(tmp_path, monkeypatch, asked):
    recipe = write_recipe(tmp_path)
    answer = echo.reply_to
    silent = iter([True] * 3)

    def sometimes(request, faults=None):
        if '"line"' in (request.schema or "") and next(silent, False):
            raise DeferredError("the server is busy")
        return answer(request, faults)

    monkeypatch.setattr(echo, "reply_to", sometimes)
    with pytest.raises(DeferredError, match="got no answer"):
        run_build(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    before = len(asked)
    release = run_build(recipe, tmp_path / "out")
    assert release.planned == release.kept + release.rejected == 40
    assert len(asked) - before < 15  # the three rows alone, each with its later stages


def test_a_full_disk_is_told_with_path_and_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("AFFECTORY_FAILPOINT", "before_rename:3:enospc")
    recipe = write_recipe(tmp_path)
    result = command("build", recipe, "--output", tmp_path / "out")
    assert result.returncode == 2
    assert "No space left" in result.stderr or "full" in result.stderr
    assert "next:" in result.stderr
    monkeypatch.delenv("AFFECTORY_FAILPOINT")
    assert run_build(recipe, tmp_path / "out").planned == 40


def test_no_server_is_left_behind_when_the_run_is_killed(tmp_path):
    recipe = write_recipe(tmp_path)
    arguments = [sys.executable, "-m", "flows.cli", "build", str(recipe), "--output", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment["AFFECTORY_FAILPOINT"] = "after_store:5:kill"
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    children: list[psutil.Process] = []
    while process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True) or children
        time.sleep(0.1)
    assert process.returncode == -signal.SIGKILL
    assert children
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_the_run_folder_tells_what_the_judgement_and_the_summary_found(finished):
    _, output, release = finished
    judgement = json.loads((output / "work" / "judgement.json").read_text())
    summary = json.loads((output / "work" / "summary.json").read_text())
    assert judgement["success"] is True
    assert summary["kept"] == release.kept
    assert sum(row["planned"] for row in summary["labels"]) == 40


def test_no_key_of_the_environment_reaches_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hf_" + "a" * 34)
    recipe = write_recipe(tmp_path, rows=8)
    run_build(recipe, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert b"hf_aaaa" not in path.read_bytes()


@pytest.mark.server
def test_prefect_asks_the_server_of_the_moment(tmp_path, prefect_server):
    from prefect.settings import get_current_settings

    asked = get_current_settings().api
    with own_prefect(tmp_path / "other") as url:
        assert get_current_settings().api.url == url != prefect_server
    assert asked.url == get_current_settings().api.url == prefect_server
