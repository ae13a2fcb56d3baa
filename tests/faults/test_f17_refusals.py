# SPDX-License-Identifier: Apache-2.0
"""Refusals, talk of being a model, the label said, copies of the story and of other rows, personal data: each is
rejected with its reason, the reasons are counted in the summary, and no row is without text."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from generators.chat import ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe

pytestmark = pytest.mark.fault

SAME = "I left the blue lantern on the ferry and nobody will bring it back."
LINES = {
    "refusal_or_model_talk": [
        "I'm sorry, but as an AI language model I cannot write that.",
        "I cannot assist with that request.",
        "I can't help with that, my guidelines say no.",
    ],
    "prompt_residue": [
        "Here is the utterance in the first person, as you wished.",
        "My line in JSON says that I am at the bridge.",
        "I heard ${cause} and {{emotion}} at the door today.",
    ],
    "names_its_label": ["I am so happy and joyful that we are here."],
    "repeats_itself": ["I run, run, run, run to the river with you."],
    "not_first_person": ["The old man walked slowly over the frozen lake."],
    "truncated": ["I put the old key back under the third stone,"],
    "personal_data": [
        "I told her to write to ida.marek@example.org tonight.",
        "I shouted that my card is 4111 1111 1111 1111, take it.",
        "I begged you to call +44 20 7946 0958 before noon.",
    ],
}
SAID = [(reason, line) for reason, lines in LINES.items() for line in lines]


def test_each_is_rejected_with_its_reason_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(number: int, request: ChatRequest, good: str) -> str | None:
        if number < len(SAID):
            return json.dumps(json.loads(good) | {"line": SAID[number][1]})
        if number < len(SAID) + 6:
            return json.dumps(json.loads(good) | {"line": SAME if number % 2 else SAME.upper().replace("I ", "I  ")})
        return None

    answer_lines(monkeypatch, say)
    settings = ("utterances.candidates=1", "gates.max_reason_share=1", "shard_rows=64", "utterances.contextual_rows=0")
    recipe = write_recipe(tmp_path, rows=40)
    release = build_in_turn(recipe, tmp_path / "out", *settings, "utterances.labels=[joy]")
    rejected = rows(tmp_path / "out", "work/*/rejected-*.parquet")
    for reason, line in SAID:
        found = [one["reason"] for one in rejected if json.dumps(line)[1:-1] in one["reply"]]
        assert found == [reason], line
    for row in rejected:
        if row["reason"] == "personal_data":
            told = row["detail"].removeprefix("personal_data: ")
            assert told in {"an address of e-mail", "a number of a payment card", "a telephone number"}
    texts = [row["text"] for row in rows(tmp_path / "out")]
    assert all(texts)
    assert sum(" ".join(text.lower().split()) == SAME.lower() for text in texts) == 1
    counted = {row["reason"]: row["rows"] for row in _summary(tmp_path / "out")["reasons"]}
    of_rows = [row["reason"] for row in rejected if row["planned_id"].startswith("u-")]
    assert counted == Counter(of_rows)
    assert release.planned == release.kept + release.rejected


def _summary(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "work" / "summary.json").read_text())
    return summary


def test_a_copy_of_the_story_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(number: int, request: ChatRequest, good: str) -> str | None:
        passage = request.messages[-1].content.split("]\n", 1)[1].split("\n[/")[0]
        words = passage.split()
        return json.dumps(json.loads(good) | {"line": "I say " + " ".join(words[5:16]) + "!"}) if number < 3 else None

    asked = answer_lines(monkeypatch, copy)
    settings = ("utterances.candidates=1", "gates.max_reason_share=1", "utterances.contextual_rows=0")
    build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *settings)
    assert len(asked) >= 3
    rejected = rows(tmp_path / "out", "work/utterances/rejected-*.parquet")
    assert sum("I say " in row["reply"] for row in rejected) == 3
    assert "copies_section" in {row["reason"] for row in rejected}
