# SPDX-License-Identifier: Apache-2.0
"""Garbage for a reply (nothing, prose, cut JSON, NaN, doubled keys, 100,000 brackets, another label or language, 1 MB
of "ha"): each ends as a rejected row with its own reason, nothing is raised, and the shard is finished."""

import json
from pathlib import Path

import pytest

from generators.chat import ChatReply, ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.test_quotas import READ

pytestmark = pytest.mark.fault

FILTERED = ChatReply("", "content_filter", 1, 0)
CUT = ChatReply('{"line": "I saw the', "length", 1, 4)
GARBAGE: dict[str, tuple[ChatReply | str, str, str]] = {
    "empty": ("", "unparsable", "json_invalid at the start"),
    "blank": (" \n\t", "unparsable", "json_invalid at the start"),
    "prose": ("Sure! Here is the line you asked for.", "unparsable", "json_invalid at the start"),
    "cut": (CUT, "truncated", "the reply ended by length"),
    "filtered": (FILTERED, "truncated", "the reply ended by content_filter"),
    "cut JSON": ('{"line": "I saw the', "unparsable", "json_invalid at the start"),
    "fenced": ('```json\n{"line": "I saw it myself."}\n```', "unparsable", "json_invalid at the start"),
    "NaN": ('{"line": NaN}', "unparsable", "string_type at line"),
    "1e400": ('{"line": 1e400}', "unparsable", "string_type at line"),
    "a number": ("1e400", "unparsable", "model_type at the start"),
    "null": ("null", "unparsable", "model_type at the start"),
    "a list": ('["I saw it myself."]', "unparsable", "model_type at the start"),
    "nested": ("[" * 100_000, "unparsable", "json_invalid at the start"),
    "nested objects": ('{"line":' * 100_000, "unparsable", "json_invalid at the start"),
    "another label": ('{"line": "I saw it myself.", "label": "grief"}', "unparsable", "extra_forbidden at label"),
    "another key": ('{"utterance": "I saw it myself."}', "unparsable", "missing at line"),
    "no line": ('{"line": ""}', "too_short", "0 words < 4"),
    "another language": ('{"line": "Ich habe dich gestern bei der alten Brücke gesehen!"}', "wrong_language", "de "),
    "another script": ('{"line": "Я видел тебя вчера у старого моста!"}', "wrong_language", "another script"),
    "1 MB of ha": (json.dumps({"line": "ha " * 350_000}), "too_long", "350000 words > 45"),
    "one long word": (json.dumps({"line": "h" * 1_000_000}), "too_short", "1 words < 4"),
}
DOUBLED = '{"line": "I will not be read at all.", "line": "I put the old key back under the third stone."}'


def test_each_garbage_is_a_rejected_row_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = list(GARBAGE)
    seeds: dict[int, str] = {}

    def garble(number: int, request: ChatRequest, good: str) -> ChatReply | str | None:
        kind = kinds[number] if number < len(kinds) else None
        if kind is None:
            return None
        seeds[request.seed] = kind
        return GARBAGE[kind][0]

    answer_lines(monkeypatch, garble)
    settings = ("utterances.candidates=1", "gates.max_reason_share=1", "shard_rows=64", "utterances.contextual_rows=0")
    release = build_in_turn(write_recipe(tmp_path, rows=60), tmp_path / "out", *settings)
    assert release.planned == release.kept + release.rejected
    found = {seeds[row["seed"]]: row for row in rows(tmp_path / "out", "work/utterances/rejected-*.parquet")
             if row["seed"] in seeds}  # fmt: skip
    assert set(found) == set(kinds)
    for kind, (_, reason, detail) in GARBAGE.items():
        assert found[kind]["reason"] == reason, kind
        assert detail in found[kind]["detail"], kind
        assert found[kind]["label"], kind
    kept = rows(tmp_path / "out")
    assert len(kept) == release.kept >= 30
    assert all(row["text"] for row in kept)


def test_of_doubled_keys_the_last_is_read_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON leaves it open; what matters is that what is judged is what is stored."""
    answer_lines(monkeypatch, lambda number, request, good: DOUBLED if number == 0 else None)
    build_in_turn(write_recipe(tmp_path, rows=8), tmp_path / "out")
    texts = {row["text"] for row in rows(tmp_path / "out")}
    assert "I put the old key back under the third stone." in texts
    assert "I will not be read at all." not in texts


@pytest.mark.parametrize("field", ['"feelings"', '"characters"', '"situation"'])
@pytest.mark.parametrize("kind", ["nested", "1 MB of ha"])
def test_garbage_at_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, kind: str) -> None:
    reply = GARBAGE[kind][0]
    answer_lines(monkeypatch, lambda number, request, good: reply if number % 3 == 0 else None, field)
    settings = (*READ, "gates.max_reason_share=1", "utterances.rows=12")
    release = build_in_turn(write_recipe(tmp_path), tmp_path / "out", *settings)
    assert release.kept > 0
    assert release.planned == release.kept + release.rejected
