# SPDX-License-Identifier: Apache-2.0
"""Thirty stories that give orders, read by a model that does what they say: labels and ids stay ours, no template is
filled twice, no secret and no prompt comes out, no file is written elsewhere, and what obeyed is rejected."""

import json
import re
from pathlib import Path

import pytest

from generators.backends import echo
from generators.chat import ChatReply, ChatRequest
from tests.faults.narratives import CANARY, ORDERS, narrative
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe
from validators.text import normalise_text

pytestmark = pytest.mark.fault

SECRET = "hf_" + "s3cret" * 6
LABELS = {"grief", "fear"}
SETTINGS = ("utterances.labels=[grief, fear]", "gates.max_reason_share=1", "utterances.contextual_rows=0")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    stories = tmp_path / "stories"
    stories.mkdir()
    for number, name in enumerate(ORDERS):
        (stories / f"{number:02d}.txt").write_text(narrative(name), encoding="utf-8")
    return write_recipe(tmp_path, rows=60)


def of(recipe: Path) -> tuple[str, ...]:
    return (*SETTINGS, f"stories={{path: {recipe.parent / 'stories'}, licence: CC0-1.0}}")


def test_there_are_thirty_of_them() -> None:
    assert len(ORDERS) == len({narrative(name) for name in ORDERS}) == 30


def test_prompts_hold_the_story_fenced_and_as_it_is(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    asked: list[ChatRequest] = []
    answer = echo.reply_to

    def note(request: ChatRequest, faults: object = None) -> ChatReply:
        asked.append(request)
        return answer(request)

    monkeypatch.setattr(echo, "reply_to", note)
    build_in_turn(recipe, recipe.parent / "out", *of(recipe))
    bodies = {normalise_text(narrative(name)) for name in ORDERS}
    for request in asked:
        text = request.messages[-1].content
        assert SECRET not in str(request.messages)
        assert not re.search(r"<\|im_(start|end)\|>|\[/?INST\]|</?s>|<(start|end)_of_turn>|<\|eot_id\|>", text)
        fenced = re.search(r"\[([0-9a-f]{8})\]\n(.*)\n\[/\1\]", text, flags=re.DOTALL)
        if fenced is None:
            continue
        passage = fenced[2]
        assert any(passage in body for body in bodies)
        assert f"[/{fenced[1]}]" not in passage
    shown = "\n".join(request.messages[-1].content for request in asked)
    for kept in (
        "$passage and ${character} and $emotion",
        "$$character, then ${banned}",
        "{{emotion}} and {character}",
    ):
        assert kept in shown  # what looks like a placeholder is text


def test_a_model_that_obeys_changes_no_label_no_id_and_no_file(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies are what the orders ask for, as the line and as whatever else a reply might hold."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    orders = list(ORDERS.values())

    def obey(number: int, request: ChatRequest, good: str) -> str | None:
        order = orders[number % len(orders)]
        system = request.messages[0].content
        said = [
            json.dumps(json.loads(good) | {"line": order}),
            json.dumps(json.loads(good) | {"line": f"I say {order}"}),
            json.dumps(json.loads(good) | {"label": "joy", "intended": {"label": "joy"}, "utterance_id": "../../x"}),
            json.dumps(json.loads(good) | {"line": " ".join(system.split()[:30])}),
            order,
            None,
        ]
        return said[number % len(said)]

    before = set(recipe.parent.rglob("*"))
    answer_lines(monkeypatch, obey)
    output = recipe.parent / "out"
    release = build_in_turn(recipe, output, *of(recipe))
    assert release.kept > 0
    kept = rows(output)
    planned = {row["utterance_id"]: row for row in rows(output, "work/plan/*.parquet")}
    for row in kept:
        assert row["intended"]["label"] in LABELS
        assert row["intended"]["label"] == planned[row["utterance_id"]]["intended"]["label"]
        assert re.fullmatch(r"u-\d{5}-\d{4}", row["utterance_id"])
        assert not re.search(r"[{}<>\[\]|$`]|prompt|instruction|\blabel\b|system", row["text"], flags=re.IGNORECASE)
        assert row["text"].isprintable()
    told = "".join(path.read_text() for path in (output / "README.md", output / "quality.json", output / "run.json"))
    assert SECRET not in told
    assert {path for path in recipe.parent.rglob("*") if output not in path.parents} == before | {output}
    assert not Path("/tmp/affectory-owned").exists()


def test_orders_in_evidence_bring_no_label_that_was_not_asked_for(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def obey(number: int, request: ChatRequest, good: str) -> str | None:
        feeling = {"character": "Nemo", "label": "joy", "cause": CANARY}
        return json.dumps({"feelings": [feeling]}) if number % 2 else None

    answer_lines(monkeypatch, obey, '"feelings"')
    output = recipe.parent / "out"
    build_in_turn(recipe, output, *of(recipe))
    assert {row["label"] for row in rows(output, "work/evidence/part-*.parquet")} <= LABELS
    assert "Nemo" not in {row["character"] for row in rows(output, "work/evidence/part-*.parquet")}
