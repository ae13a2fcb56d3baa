# SPDX-License-Identifier: Apache-2.0
"""Clips made while dialogues are written: the same release, and a failure of either stops both."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from flows import build as builds
from flows import speech
from flows.beside import beside, has_room
from flows.build import build_release, in_turn
from flows.dialogue_rounds import fill_dialogues
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import StoppedError, open_run_of, read_inputs
from tests.flows.builds import build_in_turn, run_build, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH
from validators.errors import DeferredError, GateError, InputError

FEW = "speech.shard_rows=4"


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, rows=6, extra=DIALOGUES.replace("18", "2") + SPEECH)


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(builds, "cores_here", lambda: 64)


class Order(SilentProgress):
    """Which stage told of a row when."""

    def __init__(self):
        self.told = []

    def advance(self, stage, *, kept, rejected, note=""):
        self.told.append(stage)


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        ([], 2, True),  # one worker speaks, and a scripted writer takes what one core gives
        ([], 1, False),
        (["speech.workers=4"], 4, False),
        (["speech.workers=4"], 5, True),
        (["speech.of=[dialogues]"], 64, False),
        (["dialogues=null"], 64, False),
        (["speech=null"], 64, False),
        (["runner=ray"], 64, False),
    ],
)
def test_there_is_room_where_speakers_and_writers_have_cores_of_their_own(recipe, settings, cores, expected):
    assert has_room(load_recipe(recipe, [*READ, *settings]), cores) is expected


def test_an_embedded_writer_needs_the_cores_of_its_threads(recipe):
    writer = "writer={backend: llama, weights: {package: qwen2.5-coder-1.5b}, threads: 3}"
    found = load_recipe(recipe, [*READ, writer])
    assert not has_room(found, 3)
    assert has_room(found, 4)


@pytest.mark.usefixtures("room")
def test_clips_of_utterances_are_made_while_dialogues_are_written(recipe, tmp_path, monkeypatch):
    spoken = threading.Event()
    make_clips = speech.make_clips

    def make(*given):
        try:
            return make_clips(*given)
        finally:
            spoken.set()

    def after_a_shard_of_clips(*given, **named):
        assert spoken.wait(60)
        return fill_dialogues(*given, **named)

    monkeypatch.setattr(speech, "make_clips", make)
    monkeypatch.setattr(builds, "fill_dialogues", after_a_shard_of_clips)
    order = Order()
    with open_run_of(read_inputs(load_recipe(recipe, [*READ, FEW])), tmp_path / "out", order) as run:
        release = build_release(run, in_turn)
        assert run.times["speech"].slots == 1
        assert run.times["speech"].load.busy_s <= run.times["speech"].wall_s
    assert release.dialogues is not None
    assert order.told.index("speech") < order.told.index("dialogues")


@pytest.mark.usefixtures("prefect_server")
def test_the_release_is_the_one_made_stage_by_stage(recipe, tmp_path, monkeypatch):
    build_in_turn(recipe, tmp_path / "in_turn", *READ, FEW)
    monkeypatch.setattr(builds, "cores_here", lambda: 64)
    run_build(recipe, tmp_path / "beside", *READ, FEW)
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("in_turn", "beside")]
    assert manifests[0] == manifests[1]


@pytest.mark.usefixtures("room")
def test_what_goes_wrong_with_clips_ends_the_dialogues(recipe, tmp_path, monkeypatch):
    def breaks(*_):
        raise InputError("no voice today")

    monkeypatch.setattr(speech, "make_clips", breaks)
    with pytest.raises(InputError, match="no voice today"):
        build_in_turn(recipe, tmp_path / "out", *READ)


def run_like():
    """As much of a run as `beside` asks for."""
    run: Any = SimpleNamespace(stopping=threading.Event())
    return run


def wait_for(stopping):
    def work():
        assert stopping.wait(10)
        raise StoppedError("speech")

    return work


def test_what_goes_wrong_with_dialogues_stops_the_clips():
    run = run_like()
    with pytest.raises(GateError, match="too many"), beside(run, wait_for(run.stopping)):
        raise GateError("too many of one reason")


def test_a_body_that_was_stopped_gives_way_to_the_reason():
    run = run_like()

    def fails():
        run.stopping.set()
        raise InputError("no voice today")

    with pytest.raises(InputError, match="no voice today"), beside(run, fails):
        wait_for(run.stopping)()


def test_rows_without_an_answer_let_the_clips_come_to_their_end():
    run, made = run_like(), []

    def work():
        time.sleep(0.05)
        assert not run.stopping.is_set()
        made.append("clip")

    with pytest.raises(DeferredError), beside(run, work):
        raise DeferredError("no answer")
    assert made == ["clip"]
