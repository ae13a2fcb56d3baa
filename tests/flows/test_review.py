# SPDX-License-Identifier: Apache-2.0
"""Items, orders, answers and exports of a review; the server is tested in test_review_server.py."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest

from flows.manifest import read_manifest, verify_release
from flows.report import write_report
from flows.review import export_ratings, open_review
from flows.review_figures import HEADING, card_with, figures_of
from flows.review_items import Items, order_for
from flows.review_store import Rater
from tests.flows.builds import build_in_turn, command, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_report import Page
from tests.flows.test_speech import SPEECH
from validators.errors import InputError, StorageError
from validators.rating_schemas import RATING_COLUMNS, RATINGS
from validators.taxonomy import builtin_taxonomy

KINDS = ("text", "dialogue", "audio")
TAXONOMY = builtin_taxonomy("goemotions")
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=24, extra=DIALOGUES.replace("18", "4") + SPEECH)


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "out"
    build_in_turn(recipe, root, *READ)
    return root


@pytest.fixture
def release(built, tmp_path):
    return shutil.copytree(built, tmp_path / "release")


def rate(root, rater, labels_of, *, kind="text", items=8):
    """Answer all items as a function of what is shown and of what a check asks for."""
    with open_review(root, kind, items=items, seed=1) as review:
        review.begin(rater)
        who = Rater(rater, kind)
        for position, place in review.open_places(who).items():
            review.store.answer(who, position, labels_of(place))


def obedient(place):
    """Joy for every second item, whoever rates; what a check asks for."""
    return [(place.asked_label, 1)] if place.asked_label else [("joy", 2)] * (int(place.item_sha256, 16) % 2)


def test_items_are_even_over_the_labels_and_the_same_for_a_seed(built):
    items = Items(built, "text")
    sampled = items.sample(9, seed=3)
    there = Counter(row["intended"]["label"] for row in rows(built))
    assert len(there) == 3
    counts = Counter(item.intended_label for item in sampled)
    assert all(counts[label] == min(3, n) for label, n in there.items())
    assert sampled == Items(built, "text").sample(9, seed=3)
    assert sampled != items.sample(9, seed=4)
    assert len(items.sample(1000, seed=3)) == sum(there.values())


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_holds_every_item_some_again_later_and_checks(built, kind):
    items = Items(built, kind)
    sampled = [items.place(item, "first") for item in items.sample(10, seed=0)]
    orders = [order_for(rater, sampled, TAXONOMY, 0) for rater in ("ann", "bob")]
    assert orders[0] != orders[1]
    assert orders[0] == order_for("ann", sampled, TAXONOMY, 0)
    for order in orders:
        seen = [(place.item_id, place.turn) for place in order]
        assert {key for key in seen if key[0]} == {(place.item_id, place.turn) for place in sampled}
        kinds = Counter(place.presentation for place in order)
        assert kinds == {"first": 10, "again": 1, "check": 1}
        for at, place in enumerate(order):
            if place.presentation == "again":
                assert at - seen.index((place.item_id, place.turn)) >= 2


def test_a_dialogue_ends_with_the_turn_to_rate(built):
    by_id = {row["dialogue_id"]: row for row in rows(built, "data/dialogues/*.parquet")}
    for item in Items(built, "dialogue").sample(1000, seed=0):
        turns = by_id[item.item_id]["turns"]
        assert item.turn is not None
        assert [line["text"] for line in item.shown["turns"]] == [turn["text"] for turn in turns[: item.turn + 1]]
        assert item.intended_label == turns[item.turn]["intended"]["label"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_puts_answers_beside_what_was_intended_and_keeps_the_release_whole(release, kind):
    rate(release, "ann", obedient, kind=kind)
    rate(release, HOSTILE, obedient, kind=kind)
    before = read_manifest(release)
    done = export_ratings(release)
    table = pq.read_table(done.path)
    assert table.schema.equals(RATINGS, check_metadata=True)
    assert table.num_rows == done.ratings == 2 * (8 + 1 + 1)
    assert done.checks == {"ann": (1, 0), HOSTILE: (1, 0)}
    config, key = {"text": ("utterances", "utterance_id"), "dialogue": ("dialogues", "dialogue_id"), "audio": ("clips", "clip_id")}[kind]  # fmt: skip  # noqa: E501
    intended = {}
    for row in rows(release, f"data/{config}/*.parquet"):
        for turn in row["turns"] if kind == "dialogue" else [row]:
            intended[row[key], turn["turn"] if kind == "dialogue" else None] = turn["intended"]["label"]
    for row in table.to_pylist():
        is_check = row["presentation"] == "check"
        assert row["intended_label"] == (None if is_check else intended[row["item_id"], row["turn"]])
        assert (row["asked_label"] is not None) == is_check
    assert verify_release(release) == []
    assert [file for file in read_manifest(release).files if file.path != "README.md"] == [
        file for file in before.files if file.path != "README.md"
    ]
    found = figures_of(release)[kind]
    assert found.alpha is not None
    assert found.alpha.estimate == 1
    card = (release / "README.md").read_text()
    assert card.count(HEADING) == 1
    assert "onerror" not in card  # names of raters stay here
    page = write_report(release).read_text()
    assert "Rated by people" in page
    assert "img" not in Page(page).tags
    assert HOSTILE in Page(page).text


def test_none_is_the_answer_to_a_neutral_item(release):
    rate(release, "ann", lambda place: [(place.asked_label, 1)] if place.asked_label else [], items=9)
    found = figures_of_export(release)
    heard = {label: one.intended_heard and one.intended_heard.estimate for label, one in found.per_label.items()}
    assert heard == {"neutral": 1.0, "joy": 0.0, "fear": 0.0}


def figures_of_export(root):
    export_ratings(root)
    return figures_of(root)["text"]


def test_an_export_repeated_changes_nothing_and_a_build_leaves_it(release, recipe):
    rate(release, "ann", obedient)
    export_ratings(release)
    first = {path: path.read_bytes() for path in release.rglob("*") if path.is_file() and "review" not in path.parts}
    export_ratings(release)
    build_in_turn(recipe, release, *READ)
    assert verify_release(release) == []
    for name in ("README.md", "manifest.json"):
        assert (release / name).read_bytes() == first[release / name]


def test_a_release_made_anew_keeps_the_answers_to_rows_that_are_the_same(release, recipe):
    rate(release, "ann", obedient)
    rate(release, "ann", obedient, kind="audio")
    before = export_ratings(release)
    build_in_turn(recipe, release, *READ, "utterances.rows=30")
    assert HEADING not in (release / "README.md").read_text()
    after = export_ratings(release)
    assert after.ratings == before.ratings
    assert HEADING in (release / "README.md").read_text()


def test_an_answer_is_never_taken_for_one_to_another_text(release, recipe):
    rate(release, "ann", obedient)
    with open_review(release, "text", items=8, seed=1) as review:
        places = review.open_places(Rater("ann", "text"))
        changed = next(position for position, place in places.items() if place.presentation == "first")
        other = {**json.loads(_place(review, changed)), "item_sha256": "0" * 64}
        review.store._db.execute("UPDATE places SET place = ? WHERE position = ?", (json.dumps(other), changed))
        assert changed not in review.open_places(Rater("ann", "text"))
    done = export_ratings(release)
    assert done.outdated == 1
    assert changed not in pq.read_table(done.path).column("position").to_pylist()


def _place(review, position):
    return review.store._db.execute("SELECT place FROM places WHERE position = ?", (position,)).fetchone()[0]


def test_raters_who_fail_checks_are_told_and_can_be_left_out(release):
    rate(release, "ann", obedient)
    rate(release, "bob", obedient)
    rate(release, "eve", lambda place: [("fear", 0)])
    ran = command("review", release, "--export", "--json")
    assert ran.returncode == 0, ran.stderr
    checks = json.loads(ran.stdout)["checks"]
    assert checks["ann"] == [1, 0]
    with_eve = figures_of(release)["text"]
    ran = command("review", release, "--export", "--leave-out", "eve")
    assert ran.returncode == 0, ran.stderr
    assert f"eve: failed {checks['eve'][1]} of 1 checks" in ran.stdout
    without = figures_of(release)["text"]
    assert with_eve.alpha is not None
    assert without.alpha is not None
    assert with_eve.alpha.estimate < without.alpha.estimate == 1
    assert "1 raters were left out" in (release / "README.md").read_text()
    with pytest.raises(InputError, match=r"nobody rated as 'even'\. Did you mean 'eve'"):
        export_ratings(release, leave_out=["even"])


@pytest.mark.fault
def test_an_export_that_is_killed_vouches_for_nothing_and_is_mended(release, recipe):
    rate(release, "ann", obedient)
    killed = subprocess.run(
        [sys.executable, "-m", "flows.cli", "review", str(release), "--export"],
        env={**os.environ, "AFFECTORY_FAILPOINT": "before_manifest:1:kill"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode != 0
    assert verify_release(release) == ["manifest.json: missing; the release is not finished"]
    with pytest.raises(InputError, match="no finished release"):
        export_ratings(release)
    build_in_turn(recipe, release, *READ)
    export_ratings(release)
    assert verify_release(release) == []
    assert HEADING in (release / "README.md").read_text()


def test_a_card_gets_its_figures_once_and_loses_them_with_the_ratings(release):
    rate(release, "ann", obedient)
    old = (release / "README.md").read_text()
    export_ratings(release)
    figures = figures_of(release)
    assert card_with(card_with(old, figures), figures) == card_with(old, figures) != old
    assert card_with(card_with(old, figures), {}) == old


def test_the_order_of_a_rater_stays_and_so_do_their_answers(release):
    with open_review(release, "text", items=8, seed=1) as review:
        review.begin("ann")
        places = review.store.places(Rater("ann", "text"))
        review.store.answer(Rater("ann", "text"), 0, [("joy", 2)])
    with open_review(release, "text", items=3, seed=2) as review:
        key = review.begin("ann")
        assert review.store.places(Rater("ann", "text")) == places
        assert review.state(review.store.rater(key) or Rater("", "")) | {"places": []} == {
            "rater": "ann",
            "places": [],
            "answered": [0],
        }


def test_answers_of_another_version_are_refused(release):
    with open_review(release, "text", items=3, seed=1) as review:
        review.store._db.execute("PRAGMA user_version = 9")
    with pytest.raises(StorageError, match="format 9"), open_review(release, "text", items=3, seed=1):
        pass


def test_what_cannot_be_rated_is_told_with_the_next_step(recipe, release, tmp_path):
    with pytest.raises(InputError, match="no finished release"):
        Items(tmp_path / "nowhere", "text")
    with pytest.raises(InputError, match="nobody has rated"):
        export_ratings(release)
    silent = tmp_path / "silent"
    build_in_turn(recipe, silent, *READ, "dialogues=null", "speech=null")
    ran = command("review", silent, "--kind", "audio")
    assert ran.returncode == 2
    assert "holds no clips" in ran.stderr
    assert "--kind text" in ran.stderr


def test_every_column_is_explained():
    assert list(RATING_COLUMNS) == RATINGS.names
