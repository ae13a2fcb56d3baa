# SPDX-License-Identifier: Apache-2.0
"""Predictions against what scripted runs really took."""

import json

import pytest

from flows import estimates
from flows.estimates import _until, _until_exact, estimate
from flows.meter import Sample
from flows.plan_file import learned_of, plan_lock, read_plan, write_plan
from flows.probe import _measured, probe
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.run_lock import RunLock
from flows.runs import read_inputs
from flows.yields import builtin_yields
from tests.flows.builds import STORIES, build_in_turn, command

RECIPE = """\
name: planned
stories: {{path: {stories}, section_words: 60, evidence: {evidence}}}
writer: {{backend: echo, slots: 8}}
encoder: {{backend: hashed}}
reader: {{backend: echo}}
utterances: {{rows: {rows}, contextual_rows: {contextual}, tries: 3}}
gates: {{max_reason_share: 1.0}}
shard_rows: 16
"""
DIALOGUES = "dialogues: {rows: 6, turns: [3, 4], shard_rows: 4, adherence: 0.2, judged: 0.0}\n"
SPEECH = "speech: {voice: {backend: tone}, listener: {backend: quiet}, renderings: [voice], workers: 1, takes: 1}\n"


def write(folder, *, rows=300, contextual=100, evidence="given", extra=""):
    path = folder / "planned.yaml"
    path.write_text(RECIPE.format(stories=STORIES, rows=rows, contextual=contextual, evidence=evidence) + extra)
    return path


def figures_of(output):
    return json.loads((output / "work" / "summary.json").read_text())["plan"]["figures"]


def test_a_probe_predicts_a_run_of_300_rows_within_30_per_cent_and_its_replies_are_used(tmp_path):
    recipe = write(tmp_path)
    inputs = read_inputs(load_recipe(recipe))
    output = tmp_path / "out"
    with plan_lock(output) as kept:
        yields = probe(inputs, SilentProgress(), output / "work" / "replies.sqlite")
        write_plan(output / "work", inputs, estimate(inputs, yields))
    assert kept
    release = build_in_turn(recipe, output)
    figures = figures_of(output)
    for name in ("rows_written", "model_calls", "prompt_tokens", "tokens_written", "megabytes_on_disk"):
        assert 0.7 <= figures[name]["ratio"] <= 1.3, (name, figures[name])
    assert release.usage["stored_replies"] >= 16
    assert figures["model_calls"]["actual"] == release.usage["calls"] + release.usage["stored_replies"]
    learned = learned_of(output / "work", inputs, slots=8)
    again = estimate(inputs, learned)
    assert 0.8 <= again["rows_written"] / release.planned <= 1.2  # type: ignore[operator]


@pytest.mark.parametrize("evidence", ["given", "model"])
def test_a_probe_measures_every_stage_that_the_recipe_wants(tmp_path, evidence):
    recipe = write(tmp_path, rows=40, contextual=0, evidence=evidence, extra=DIALOGUES + SPEECH)
    inputs = read_inputs(load_recipe(recipe))
    before, found = builtin_yields(inputs), probe(inputs, SilentProgress())
    assert set(found.of) == {"evidence", "utterances", "dialogues", "speech"}
    measured = {"utterances", "dialogues", "speech"} | ({"evidence"} if evidence == "model" else set())
    assert {stage for stage in found.of if found.of[stage] != before.of[stage]} == measured
    stages = estimate(inputs, found)["stages"]
    assert isinstance(stages, dict)
    assert stages["speech"]["written"] == pytest.approx(
        2 * (stages["utterances"]["kept"] + 3.5 * stages["dialogues"]["kept"]), abs=8
    )


def test_without_a_probe_dialogues_and_speech_are_reckoned_too(tmp_path):
    inputs = read_inputs(load_recipe(write(tmp_path, rows=40, contextual=0, extra=DIALOGUES + SPEECH)))
    figures = estimate(inputs)
    assert figures["dialogues_written"] > 6  # type: ignore[operator]
    assert figures["clips_made"] > 40  # type: ignore[operator]
    plain = estimate(read_inputs(load_recipe(write(tmp_path, rows=40, contextual=0))))
    assert plain["model_calls"] < figures["model_calls"]  # type: ignore[operator]
    assert "clips_made" not in plain


def test_a_budget_cuts_what_is_predicted(tmp_path):
    recipe = write(tmp_path, rows=2000)
    free = estimate(read_inputs(load_recipe(recipe)))
    cut = estimate(read_inputs(load_recipe(recipe, ["budget.calls=500"])))
    assert free["model_calls"] > 2000  # type: ignore[operator]
    assert 500 <= cut["model_calls"] < 700  # type: ignore[operator]
    minutes = estimate(read_inputs(load_recipe(recipe, ["budget.utterances_minutes=10"])))
    assert 10 <= minutes["stages"]["utterances"]["minutes"] <= 14  # type: ignore[index]


def test_clips_are_those_of_the_texts_that_a_budget_lets_be_written(tmp_path):
    recipe = write(tmp_path, rows=2000, contextual=0, extra=SPEECH)
    stages = estimate(read_inputs(load_recipe(recipe, ["budget.utterances_minutes=10"])))["stages"]
    assert stages["speech"]["written"] == pytest.approx(2 * stages["utterances"]["kept"], abs=2)  # type: ignore[index]


def test_stages_side_by_side_take_less_time_than_one_after_the_other(tmp_path, monkeypatch):
    inputs = read_inputs(load_recipe(write(tmp_path, rows=40, contextual=0, extra=DIALOGUES + SPEECH)))

    def minutes(cores):
        monkeypatch.setattr(estimates, "cores_here", lambda: cores)
        return float(str(estimate(inputs)["minutes"]))

    alone, beside = minutes(1), minutes(64)
    dialogues = estimate(inputs)["stages"]["dialogues"]["minutes"]  # type: ignore[index]
    assert alone - dialogues - 0.2 <= beside < alone


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_rows_are_written_until_they_are_had_or_the_tries_are_used_up(share):
    written, had = _until_exact(share, 4)
    assert written == min(1 / share, 4)
    assert had == pytest.approx(min(1.0, 4 * share))
    spread_written, spread_had = _until(share, 4)
    assert 1 <= spread_written <= 4
    assert spread_had < had + 1e-9  # labels that differ from each other use their tries up sooner


def test_a_label_that_is_never_heard_uses_up_its_tries():
    assert _until_exact(0.0, 3) == (3.0, 0.0)


def test_warm_requests_among_a_full_engine_decide_the_time():
    cold = [Sample("utterance", 9.0, 4, 100, 10)] * 4
    warm = [Sample("utterance", 2.0, 4, 100, 10)] * 6
    tail = [Sample("utterance", 0.5, 1, 100, 10)] * 2
    one = _measured([*cold, *warm, *tail], 6, slots=4)
    assert (one.calls, one.prompt_tokens, one.completion_tokens) == (2.0, 200.0, 20.0)
    assert one.seconds == pytest.approx(2.0 * 2.0 / 4)


def test_a_plan_is_read_back_for_its_recipe_alone(tmp_path):
    recipe = write(tmp_path, rows=20, contextual=0)
    inputs = read_inputs(load_recipe(recipe))
    write_plan(tmp_path, inputs, {"minutes": 1.0})
    assert read_plan(tmp_path, inputs) == {"minutes": 1.0}
    assert read_plan(tmp_path, read_inputs(load_recipe(recipe, ["utterances.rows=21"]))) is None
    (tmp_path / "plan.json").write_text("{")
    assert read_plan(tmp_path, inputs) is None


def test_a_folder_in_which_a_run_is_at_work_is_left_alone(tmp_path):
    lock = RunLock(tmp_path / "run.lock")
    try:
        with plan_lock(tmp_path) as kept:
            assert not kept
    finally:
        lock.release()
    assert not (tmp_path / "work").exists()


@pytest.mark.usefixtures("prefect_server")
def test_the_command_probes_once_and_the_build_compares(tmp_path):
    recipe = write(tmp_path, rows=20, contextual=0)
    output = tmp_path / "out"
    first = json.loads(command("plan", recipe, "--output", output, "--json").stdout)
    assert first["source"].startswith("a probe of 16 rows")
    assert json.loads(command("plan", recipe, "--output", output, "--json").stdout) == first
    built = json.loads(command("build", recipe, "--output", output, "--json").stdout)
    assert built["plan"]["figures"]["model_calls"]["predicted"] == first["model_calls"]
    reckoned = json.loads(command("plan", recipe, "--output", output, "--no-probe", "--json").stdout)
    assert "no request was made" in reckoned["source"]
    later = json.loads(command("plan", recipe, "--output", output, "--json").stdout)
    assert "an earlier run" in later["source"]
