# SPDX-License-Identifier: Apache-2.0
"""A gate that raises: the run stops with the name of the gate, the row and the line of code, without a word of the row,
nothing of the shard is written, and after the gate is mended no reply is paid for twice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from generators.backends import echo
from generators.chat import ChatReply, ChatRequest
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from validators import gates, turn_gates
from validators.errors import BrokenGateError, ModelError
from validators.judging import gate_name, judge
from validators.verdicts import ACCEPTED, Verdict

pytestmark = pytest.mark.fault

SETTINGS = ("shard_rows=8", "utterances.contextual_rows=0")


def failing(at_call: int) -> Callable[[str], Verdict]:
    calls = 0

    def unlucky(text: str) -> Verdict:
        nonlocal calls
        calls += 1
        if calls == at_call:
            raise KeyError(text)
        return ACCEPTED

    return unlucky


def test_the_run_stops_with_gate_and_row_and_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, output = write_recipe(tmp_path, rows=24), tmp_path / "out"
    lines: list[str] = []
    calls: list[ChatRequest] = []
    answer = echo.reply_to

    def noted(request: ChatRequest, faults: object = None) -> ChatReply:
        calls.append(request)
        reply = answer(request)
        lines.append(reply.text)
        return reply

    monkeypatch.setattr(echo, "reply_to", noted)
    monkeypatch.setattr(gates, "complete", failing(12))
    with pytest.raises(BrokenGateError) as caught:
        build_in_turn(recipe, output, *SETTINGS)
    told = str(caught.value)
    assert "the gate unlucky failed with KeyError" in told
    assert "row u-00001-" in told
    assert "stage line" in told
    assert "test_f26_gate_raises.py, line " in told
    assert caught.value.exit_code == 1
    assert not any(line in told for line in lines)
    assert sorted(path.name for path in (output / "work" / "utterances").iterdir()) == [
        "part-00000.done.json",
        "part-00000.parquet",
        "rejected-00000.parquet",
    ]
    assert not (output / "manifest.json").exists()
    n_calls = len(calls)
    monkeypatch.undo()
    monkeypatch.setattr(echo, "reply_to", noted)
    build_in_turn(recipe, output, *SETTINGS)
    assert not set(map(repr, calls[:n_calls])) & set(map(repr, calls[n_calls:]))


def test_a_gate_of_turns_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(tmp_path, rows=8, extra=DIALOGUES.replace("18", "4"))
    monkeypatch.setattr(turn_gates, "one_speaker", lambda text, **limits: 1 / 0)
    with pytest.raises(BrokenGateError, match="ZeroDivisionError") as caught:
        build_in_turn(recipe, tmp_path / "out", *READ)
    assert "row d-" in caught.value.where


def test_every_gate_has_a_name() -> None:
    bounds = gates.GateBounds()
    made = gates.line_gates(
        character="", section="", synonyms=[], language="en", prompt="", strangers=[], bounds=bounds
    ) + gates.situation_gates(line="", section="", feelings=[], language="en", prompt="", strangers=[], bounds=bounds)
    names = [gate_name(gate) for gate in made]
    assert all(name.isidentifier() for name in names)
    assert {"right_length", "copies_nothing", "no_personal_data", "complete"} <= set(names)


def test_what_a_model_behind_a_gate_says_stays_what_it_is() -> None:
    def asks_an_encoder(text: str) -> Verdict:
        raise ModelError("the encoder has no weights")

    with pytest.raises(ModelError, match="no weights"):
        judge("a text", [asks_an_encoder])
