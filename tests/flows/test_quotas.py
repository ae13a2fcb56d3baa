# SPDX-License-Identifier: Apache-2.0
"""Quotas: counts of accepted rows, filled in rounds, resumable, bounded by budgets."""

import json
from collections import Counter

import pytest

from flows.manifest import verify_release
from flows.recipe import load_recipe
from flows.runs import read_inputs
from generators.backends import echo
from tests.flows.builds import build_in_turn as run_build
from tests.flows.builds import rows, write_recipe
from validators.errors import GateError, InputError

# the echo reader hears one label in two; of 28 labels, the first 14 are one row in four
READ = (
    "reader={backend: echo}",
    "loop={rank: 14, score: 1.0}",
    "utterances.labels=[joy, fear, neutral]",
    "utterances.rows=30",
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"))


def labels(output):
    return Counter(row["intended"]["label"] for row in rows(output))


@pytest.fixture(scope="module")
def filled(recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("filled") / "out"
    return output, run_build(recipe, output, *READ)


def test_the_quota_is_met_exactly_by_rows_that_the_reader_heard(filled):
    output, release = filled
    assert labels(output) == {"joy": 10, "fear": 10, "neutral": 10}
    assert release.rejected > 0
    assert release.planned == release.kept + release.rejected
    assert release.short == {}
    assert all(row["realised"] and row["perceived"] and row["reader"] == "echo" for row in rows(output))


def test_each_intensity_and_manner_gets_its_share(filled):
    output, _ = filled
    found = Counter((row["intended"]["label"], row["intended"]["intensity"], row["manner"]) for row in rows(output))
    assert found["joy", 1, None] == found["joy", 2, None] == 5
    assert set(found) - {("neutral", None, None)} == set(found)


def test_quality_says_what_was_heard_and_is_part_of_the_release(filled):
    output, release = filled
    figures = json.loads((output / "quality.json").read_text())
    missed = [row for row in rows(output, "work/utterances/rejected-*.parquet") if row["gate"] == "reader"]
    assert figures["realised"]["rows"] == release.kept + len(missed)
    assert figures["realised"]["count"] == release.kept
    assert figures["realised_at_first"]["count"] == sum(row["realised_at_first"] for row in rows(output))
    assert figures["quotas"]["accepted"] == figures["quotas"]["wanted"] == 30
    assert sum(count for row in figures["confusion"].values() for count in row.values()) == (release.kept + len(missed))
    assert any(file["path"] == "quality.json" for file in json.loads((output / "manifest.json").read_text())["files"])


def test_one_more_quota_goes_on_from_what_is_there(recipe, tmp_path, asked):
    output = tmp_path / "out"
    run_build(recipe, output, *READ)
    before, n_asked = {row["utterance_id"]: row for row in rows(output)}, len(asked)
    release = run_build(recipe, output, *READ, "utterances.labels=[joy, fear, neutral, anger]", "utterances.rows=40")
    after = {row["utterance_id"]: row for row in rows(output)}
    assert labels(output) == {"joy": 10, "fear": 10, "neutral": 10, "anger": 10}
    assert {name: after[name] for name in before} == before
    new = asked[n_asked:]
    assert new
    assert all("You feel anger" in request.messages[-1].content for request in new if '"line"' in (request.schema or "")
               and '"cause"' in (request.schema or ""))  # fmt: skip
    assert verify_release(output) == []
    assert release.kept == 40
    assert "anger" in (output / "README.md").read_text()


def test_the_same_quotas_again_ask_nothing_and_change_nothing(filled, recipe, asked):
    output, release = filled
    before = {path: path.stat().st_mtime_ns for path in [*output.glob("data/*/*"), *output.glob("*.json")]}
    again = run_build(recipe, output, *READ)
    assert asked == []
    assert (again.kept, again.rounds, dict(again.short)) == (release.kept, release.rounds, {})
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_budget_ends_the_run_with_what_it_has_and_a_larger_one_goes_on(recipe, tmp_path):
    output = tmp_path / "out"
    several = ("shard_rows=6", "utterances.contextual_rows=0")
    first = run_build(recipe, output, *READ, *several, "budget.calls=90")
    assert 0 < first.kept < 30
    assert set(first.short.values()) == {"the budget of 90 calls is spent"}
    assert verify_release(output) == []
    kept = {row["utterance_id"] for row in rows(output)}
    again = run_build(recipe, output, *READ, *several, "budget.calls=90")
    assert (again.kept, again.short) == (first.kept, first.short)
    last = run_build(recipe, output, *READ, *several)
    assert last.kept == 30
    assert kept <= {row["utterance_id"] for row in rows(output)}


def test_a_label_that_no_section_feeds_is_named_with_the_reason(recipe, tmp_path, monkeypatch):
    fed = echo.reply_to

    def never_grief(request, faults=None):
        reply = fed(request, faults)
        return reply if "grief" not in reply.text else fed_again(reply)

    def fed_again(reply):
        return type(reply)(reply.text.replace('"grief"', '"joy"'), *list_of(reply)[1:])

    def list_of(reply):
        return [reply.text, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens]

    monkeypatch.setattr(echo, "reply_to", never_grief)
    release = run_build(recipe, tmp_path / "out", "utterances.labels=[joy, grief]", "utterances.rows=8")
    assert release.short == {"grief": "no section gives cause for it"}
    assert labels(tmp_path / "out") == {"joy": 4}
    alone = ("utterances.labels=[grief]", "utterances.rows=8", "gates.max_reason_share=1.0")
    with pytest.raises(InputError, match="No section gives cause for any of the emotions") as refusal:
        run_build(recipe, tmp_path / "none", *alone)
    assert "other labels" in refusal.value.next_step


def test_a_label_that_is_never_heard_is_given_up_after_its_tries(recipe, tmp_path):
    never = ("loop.rank=1", "loop.score=1.99", "utterances.candidates=1", "utterances.tries=2", "loop.worn_out=null")
    with pytest.raises(GateError, match="kept_rows"):
        run_build(recipe, tmp_path / "out", *READ, *never, "floors.kept_rows=30")
    rejected = rows(tmp_path / "out", "work/utterances/rejected-*.parquet")
    planned = rows(tmp_path / "out", "work/plan/*.parquet")
    assert len(planned) <= 60
    assert {row["reason"] for row in rejected} >= {"not_realised"}


def test_misses_are_kept_beside_the_quota_if_asked_for(recipe, tmp_path):
    run_build(recipe, tmp_path / "out", *READ, "loop.keep_misses_above=0.0")
    found = Counter((row["intended"]["label"], row["realised"]) for row in rows(tmp_path / "out"))
    assert {label: found[label, True] for label in ("joy", "fear", "neutral")} == {"joy": 10, "fear": 10, "neutral": 10}
    assert sum(count for (_, realised), count in found.items() if not realised) > 0


@pytest.mark.parametrize(
    ("floor", "check"),
    [("floors.realised=0.99", "realised"), ("floors.distinct_2=1.0", "distinct_2"),
     ("floors.opening_share=0.001", "opening_share")],
)  # fmt: skip
def test_a_floor_that_is_not_reached_fails_the_release_and_a_lower_one_needs_no_model(
    recipe, tmp_path, asked, floor, check
):
    with pytest.raises(GateError, match=check):
        run_build(recipe, tmp_path / "out", *READ, floor)
    n_asked = len(asked)
    assert not (tmp_path / "out" / "manifest.json").exists()
    run_build(recipe, tmp_path / "out", *READ)
    assert len(asked) == n_asked
    assert verify_release(tmp_path / "out") == []


def test_a_floor_on_what_nobody_read_fails(recipe, tmp_path):
    with pytest.raises(GateError, match="realised"):
        run_build(recipe, tmp_path / "out", "floors.realised=0.1")


def test_worn_out_openings_reach_the_prompts_of_later_rounds(recipe, tmp_path, asked):
    run_build(recipe, tmp_path / "out", *READ, "utterances.rows=60", "loop.worn_out=2")
    told = [request for request in asked if "Do not use these words" in request.messages[-1].content]
    assert told
    assert read_inputs(load_recipe(recipe, READ)).recipe.loop.worn_out == 3
