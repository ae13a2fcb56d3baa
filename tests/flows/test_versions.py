# SPDX-License-Identifier: Apache-2.0
"""Versions of a dataset: nothing comes twice, stories stay in their splits, what fails is not published."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from flows import versions
from flows.build import build_release, in_turn
from flows.earlier import read_earlier
from flows.manifest import verify_release
from flows.progress import SilentProgress
from flows.publishing import RECORD, Publication
from flows.recipe import load_recipe
from flows.runs import open_run_of, read_inputs
from flows.versions import Destination, make_next, versions_in
from generators.backends.hashed import open_encoder
from generators.encoder import EncoderSettings
from tests.flows.builds import command, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from validators.duplicates import find_duplicates
from validators.errors import GateError, HubError, InputError, RecipeMismatchError
from validators.schemas import REJECTED

OPEN = (*READ, "dialogues.writers={second: {backend: echo, name: second}}")


def build_without_prefect(inputs, root, progress, *, rebuild=False):
    with open_run_of(inputs, root, progress, rebuild=rebuild) as run:
        return build_release(run, in_turn)


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch):
    """Prefect's own seconds say nothing about versions; see test_schedule.py for the real thing."""
    monkeypatch.setattr(versions, "build", build_without_prefect)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, rows=8)


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=16, extra=DIALOGUES.replace("18", "4"))


@pytest.fixture(scope="module")
def both(talking, tmp_path_factory):
    """Two versions, the second made after the first."""
    root = tmp_path_factory.mktemp("versions") / "all"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "build", build_without_prefect)
        return [make_next(talking, OPEN, root, SilentProgress()) for _ in range(2)]


def make(recipe, root, *settings, **options):
    return make_next(recipe, settings, root, SilentProgress(), **options)


def texts(folder):
    utterances = [row["text"] for row in rows(folder)]
    dialogues = ["\n".join(turn["text"] for turn in row["turns"]) for row in rows(folder, "data/dialogues/*.parquet")]
    return utterances, dialogues


def splits(folder):
    return {row["story_id"]: row["split"] for row in rows(folder)}


def test_a_second_version_has_new_rows_and_old_splits(both):
    first, second = both
    assert [one.number for one in versions_in(first.folder.parent)] == [1, 2]
    encoder = open_encoder(EncoderSettings(name="hashed"))
    for old, new in zip(texts(first.folder), texts(second.folder), strict=True):
        assert old
        assert new
        ids = [f"a{n}" for n in range(len(old))] + [f"b{n}" for n in range(len(new))]
        assert find_duplicates(ids, [*old, *new], encoder, similarity=0.9)[0] == []
    old_splits, new_splits = splits(first.folder), splits(second.folder)
    shared = old_splits.keys() & new_splits.keys()
    assert shared
    assert all(old_splits[story] == new_splits[story] for story in shared)
    assert json.loads((second.folder / "run.json").read_bytes())["recipe"]["seed"] == 8


def test_the_card_says_what_a_version_was_made_after(both):
    first, second = ((one.folder / "README.md").read_text() for one in both)
    assert "`affectory build recipe.yaml`" in first
    assert "`affectory build recipe.yaml --after v1`" in second
    assert "after 1 earlier" in second


def test_a_row_that_repeats_one_of_an_earlier_version_names_it(recipe, tmp_path):
    """The same rows again: all are dropped."""
    first = make(recipe, tmp_path / "all", "utterances.tries=1")
    inputs = read_inputs(load_recipe(recipe, ["utterances.tries=1"]), [first.folder])
    # else other pairs come first, and with them other rows
    inputs = replace(inputs, earlier=replace(inputs.earlier, pairs=()))
    with pytest.raises(GateError), open_run_of(inputs, tmp_path / "again", SilentProgress()) as run:
        build_release(run, in_turn)
    dropped = [
        row
        for path in (tmp_path / "again").glob("work/duplicates/rejected-*.parquet")
        for row in pq.read_table(path).cast(REJECTED).to_pylist()
    ]
    assert len(dropped) >= len(rows(first.folder))
    assert all(row["detail"].startswith("of 0001/u-") for row in dropped)


@pytest.mark.parametrize("settings", [(), ("gates.max_words=40",)], ids=["same recipe", "recipe edited"])
def test_an_interrupted_version_is_finished_by_the_next_call(recipe, tmp_path, monkeypatch, settings):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.runs.Run.side_by_side", cut_off)
        with pytest.raises(KeyboardInterrupt):
            make(recipe, tmp_path / "all")
    assert not versions_in(tmp_path / "all")[0].finished
    made = make(recipe, tmp_path / "all", *settings)
    assert made.number == 1
    assert verify_release(made.folder) == []


def test_a_version_that_fails_its_gates_is_told_of_and_left_aside(recipe, tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(versions, "publish", lambda *_, **__: pytest.fail("it must not be published"))
    with pytest.raises(GateError):
        make(
            recipe,
            tmp_path / "all",
            "floors.kept_rows=1000",
            destination=Destination("me/feelings"),
            tell=lambda happening, figures: heard.append((happening, figures["version"])),
        )
    assert heard == [("failed", 1)]
    assert versions_in(tmp_path / "all")[0].failed
    assert "rows" in json.loads((tmp_path / "all" / "0001" / "work" / "failed.json").read_bytes())["what"]
    assert make(recipe, tmp_path / "all").number == 2


def test_what_the_hub_did_not_take_is_published_before_the_version_after_it(recipe, tmp_path, monkeypatch):
    heard, taken = [], []

    def refuse(folder, repo, **_):
        raise HubError("The Hub cannot be reached", where=repo)

    def take(folder, repo, **_):
        taken.append(folder.name)
        (folder / "work" / RECORD).write_text(json.dumps({"repo": repo}))
        return Publication(repo, f"v{len(taken)}", (), (), 0, 0, "0" * 40)

    options = {"destination": Destination("me/feelings"), "tell": lambda happening, figures: heard.append(happening)}
    monkeypatch.setattr(versions, "publish", refuse)
    with pytest.raises(HubError):
        make(recipe, tmp_path / "all", **options)
    assert heard == ["made", "unpublished"]
    monkeypatch.setattr(versions, "publish", take)
    make(recipe, tmp_path / "all", **options)
    assert taken == ["0001", "0002"]
    assert heard[2:] == ["published", "made", "published"]


def test_what_must_not_be_published_holds_nothing_back(recipe, tmp_path, monkeypatch):
    taken = []

    def publish(folder, repo, **_):
        if folder.name == "0001":
            raise GateError("an address is in it", where=str(folder))
        taken.append(folder.name)
        return Publication(repo, "v1", (), (), 0, 0, "0" * 40)

    monkeypatch.setattr(versions, "publish", publish)
    with pytest.raises(GateError):
        make(recipe, tmp_path / "all", destination=Destination("me/feelings"))
    make(recipe, tmp_path / "all", destination=Destination("me/feelings"))
    assert taken == ["0002"]


def test_earlier_versions_are_part_of_a_runs_identity(recipe, tmp_path):
    first = make(recipe, tmp_path / "all")
    loaded = load_recipe(recipe)
    with open_run_of(read_inputs(loaded, [first.folder]), tmp_path / "next", SilentProgress()):
        pass
    with (
        pytest.raises(RecipeMismatchError, match="earlier_sha256"),
        open_run_of(read_inputs(loaded), tmp_path / "next", SilentProgress()),
    ):
        pass


def test_what_is_no_finished_version_is_refused(recipe, tmp_path):
    with pytest.raises(InputError, match="no finished release"):
        read_earlier([tmp_path])
    first = make(recipe, tmp_path / "all")
    damaged = next((first.folder / "data" / "utterances").glob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-8])
    with pytest.raises(InputError, match="no finished release"):
        read_earlier([first.folder])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give one of --cron, --every and --once"),
        (("--once", "--cron", "0 3 * * 1"), "give one of --cron, --every and --once"),
        (("--cron", "when it suits"), "five fields"),
        (("--cron", "0 3 * * 1", "--timezone", "Mars/Olympus"), "Europe/Berlin"),
        (("--every", "0"), "--every"),
    ],
)
def test_bad_times_are_told_at_once(recipe, options, said):
    done = command("schedule", recipe, *options)
    assert done.returncode == 2
    assert said in done.stderr
