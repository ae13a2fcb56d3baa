# SPDX-License-Identifier: Apache-2.0
"""Dialogues of a build: each planned one accounted for, linked to story and utterance, resumable, refused if wrong."""

import itertools
import json
from collections import Counter
from types import SimpleNamespace

import datasets
import pytest

from flows.manifest import verify_release
from flows.recipe import load_recipe
from flows.runs import read_inputs
from generators.backends import echo
from tests.flows.builds import build_in_turn as run_build
from tests.flows.builds import rows, write_recipe
from validators.errors import GateError, InputError

DIALOGUES = """
dialogues:
  rows: 18
  turns: [3, 4, 6]
  domains: [work, loss, money]
  writers: {second: {backend: echo, name: second}}
  pairs: [[writer, writer], [writer, second]]
  shard_rows: 5
  adherence: 0
  judged: 0
"""
# the echo reader hears one label in two
READ = (
    "reader={backend: echo}",
    "loop={rank: 14, score: 1.0, worn_out: null}",
    "utterances.labels=[joy, fear, neutral]",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=24, extra=DIALOGUES)


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "out"
    return output, run_build(recipe, output, *READ)


def dialogues(output):
    return rows(output, "data/dialogues/*.parquet")


def test_every_planned_dialogue_is_kept_or_rejected_with_a_reason(built):
    output, release = built
    talked = release.dialogues
    assert talked.kept.num_rows == len(dialogues(output)) == 18
    assert len(talked.planned) == talked.kept.num_rows + talked.rejected.num_rows
    assert all(row["reason"] and row["stage"] for row in talked.rejected.to_pylist())
    assert verify_release(output) == []


def test_turns_follow_the_plan_and_take_turns(built):
    output, _ = built
    for row in dialogues(output):
        assert [turn["speaker"] for turn in row["turns"]] == [n % 2 for n in range(len(row["turns"]))]
        assert [turn["intended"]["label"] for turn in row["turns"]] == [turn["label"] for turn in row["trajectory"]]
        assert all(len(turn["text"].split()) <= 25 for turn in row["turns"][row["utterance_id"] is not None :])
        heard = [turn["realised"] for turn in row["turns"]]
        assert row["adherence"] == pytest.approx(sum(heard) / len(heard))


def test_half_grow_from_utterances_and_stay_in_the_split_of_their_story(built):
    output, _ = built
    spoken = {row["utterance_id"]: row for row in rows(output)}
    grown = [row for row in dialogues(output) if row["utterance_id"]]
    assert len(grown) == 9
    for row in grown:
        opening = spoken[row["utterance_id"]]
        assert row["turns"][0]["text"] == opening["text"]
        assert (row["story_id"], row["split"]) == (opening["story_id"], opening["split"])
        assert row["speakers"][0]["name"] == opening["character"] != row["speakers"][1]["name"]
        assert row["source_licence"] == opening["source_licence"]
    assert len({row["utterance_id"] for row in grown}) == 9


def test_domains_writers_and_lengths_are_dealt_evenly(built):
    output, release = built
    planned = release.dialogues.planned[:18]
    assert set(Counter(row.domain for row in planned if row.domain).values()) == {3}
    assert set(Counter(row.writers for row in planned).values()) == {9}
    assert set(Counter(len(row.trajectory) for row in planned).values()) == {6}
    writers = {speaker["writer"] for row in dialogues(output) for speaker in row["speakers"]}
    assert writers == {"echo", "second"}


def test_datasets_opens_the_nested_turns(built):
    output, _ = built
    loaded = datasets.load_dataset(str(output), "dialogues")
    assert sum(len(split) for split in loaded.values()) == 18
    first = loaded["train"][0]
    assert first["turns"][0]["intended"]["label"] in {"joy", "fear", "neutral", *first["turns"][0]["intended"].values()}
    assert {"name", "persona", "relation", "writer"} <= set(first["speakers"][0])


def test_the_figures_tell_where_dialogues_fell(built):
    output, release = built
    figures = json.loads((output / "quality.json").read_text())["dialogues"]
    assert figures["rows"]["kept"] == 18
    assert figures["turns"]["0"]["came"] == len(release.dialogues.planned)
    written = sum(one["written"] for one in figures["turns"].values())
    assert written == sum(one["written"] for one in figures["writers"].values())
    assert written == sum(one["written"] for one in figures["emotions"].values())
    assert figures["realised_at_first"]["count"] <= figures["realised"]["count"] < figures["realised"]["rows"]
    assert sum(figures["judge"]["counts"].values()) > 0
    assert set(figures["keep_rate"]["by_writers"]) == {"writer + writer", "writer + second"}
    card = (output / "README.md").read_text()
    assert "## Dialogues" in card
    assert "config_name: dialogues" in card


def test_a_finished_run_asks_nothing_and_more_are_added_to_it(built, recipe, monkeypatch):
    output, _ = built
    before = {row["dialogue_id"]: row["turns"] for row in dialogues(output)}
    asked = []
    told = echo.reply_to

    def noted(*request):
        asked.append(request)
        return told(*request)

    monkeypatch.setattr(echo, "reply_to", noted)
    run_build(recipe, output, *READ)
    assert not asked
    run_build(recipe, output, *READ, "dialogues.rows=20")
    after = {row["dialogue_id"]: row["turns"] for row in dialogues(output)}
    assert len(after) == 20
    assert before.items() <= after.items()
    assert 0 < len(asked) < 200


def test_a_budget_ends_the_dialogues_with_what_there_is(recipe, tmp_path):
    few = ("dialogues.rows=40", "dialogues.tries=1", "floors.kept_dialogues=1")
    release = run_build(recipe, tmp_path / "out", *READ, *few, "budget.calls=400")
    assert release.dialogues is not None
    assert 0 < release.dialogues.kept.num_rows < 40
    assert release.dialogues.short == "the budget of 400 calls is spent"


def test_a_stage_with_minutes_of_its_own_leaves_time_to_the_next(recipe, tmp_path, monkeypatch):
    ticks = itertools.count(step=6.0)
    monkeypatch.setattr("flows.shards.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    few = ("dialogues.rows=4", "floors.kept_dialogues=1", "shard_rows=6")
    release = run_build(recipe, tmp_path / "out", *READ, *few, "budget.utterances_minutes=0.3")
    assert set(release.short.values()) == {"the budget of 0.3 minutes for utterances is spent"}
    assert release.planned < 24
    assert release.dialogues is not None
    assert release.dialogues.kept.num_rows == 4


def test_a_floor_of_none_lets_a_dataset_pass_without_dialogues(recipe, tmp_path):
    never = ("dialogues.judged=1.0", "dialogues.rows=4", "dialogues.tries=1", "floors.kept_dialogues=0")
    release = run_build(recipe, tmp_path / "out", *READ, *never)
    assert release.dialogues is not None
    assert (release.dialogues.kept.num_rows, release.dialogues.rejected.num_rows) == (0, 4)
    assert verify_release(tmp_path / "out") == []
    assert set(datasets.get_dataset_config_names(str(tmp_path / "out"))) == {"utterances"}


def test_no_kept_dialogue_is_a_failure(recipe, tmp_path):
    never = ("dialogues.judged=1.0", "dialogues.rows=4", "dialogues.tries=1")
    with pytest.raises(GateError, match="kept_dialogues"):
        run_build(recipe, tmp_path / "out", *READ, *never)
    assert not (tmp_path / "out" / "manifest.json").exists()


UNREACHABLE = """name: mine
taxonomy: goemotions
edges:
  joy: [fear]
  fear: [neutral]
  neutral: [fear]
"""
UNKNOWN = """name: mine
taxonomy: goemotions
edges:
  joy: [fear, gladness]
  fear: [joy]
"""
STAR = """name: mine
taxonomy: goemotions
edges:
  joy: [fear, neutral]
  fear: [joy]
  neutral: [joy]
"""


@pytest.mark.parametrize(
    ("graph", "settings", "message"),
    [
        (UNREACHABLE, ("dialogues.labels=[joy, fear, neutral]",), "cannot reach and leave every emotion: joy"),
        (UNKNOWN, ("dialogues.labels=[joy, fear]",), "'gladness', which the taxonomy does not have"),
        # joy lies between every two others: it cannot be rare
        (STAR, ("dialogues.labels={joy: 0.1, fear: 0.45, neutral: 0.45}", "dialogues.persistence=0"), "cannot"),
        ("", ("dialogues.persistence=0.95",), "a persistence of 0.95 cannot be had"),
        ("", ("dialogues.labels=[joy, happyness]",), "emotion 'happyness' is unknown"),
        ("", ("dialogues.domains=[work, wrok]",), "domain 'wrok' is unknown"),
        ("", ("dialogues.graph=deepdialog",), "graph 'deepdialog' is unknown"),
        ("", ("dialogues.pairs=[[writer, third]]",), "names a writer 'third' that is not in writers"),
        ("", ("dialogues.judge=third",), "'third' is not in writers"),
    ],
)
def test_what_cannot_be_had_is_refused_before_any_call(recipe, tmp_path, graph, settings, message):
    if graph:
        (tmp_path / "graph.yaml").write_text(graph)
        settings = (*settings, f"dialogues.graph={tmp_path / 'graph.yaml'}")
    with pytest.raises(InputError, match=message):
        read_inputs(load_recipe(recipe, (*READ, *settings)))
