# SPDX-License-Identifier: Apache-2.0
"""Lone surrogates, NUL, bidi, zero-width and paired characters: in a reply they are taken out or the row is rejected; a
row with a lone surrogate is refused before pyarrow sees it; all else comes back from the disk exactly."""

import json
import unicodedata
from pathlib import Path

import pytest

from generators.chat import ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.shards import evidence, open_tiny
from validators.records import Evidence
from validators.schemas import EVIDENCE, REJECTED, TableError, to_records, to_table

pytestmark = pytest.mark.fault

STRANGE = {
    "nul": "a\x00b",
    "control": "\x01\x1b[31m\x7f\x85",
    "bidi": "\u202eevil\u202c \u2066x\u2069",
    "zero width": "a\u200bb\u200d\ufeff",
    "emoji pair": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "combining": "e\u0301" + "\u0321" * 200,
    "line ends": "\r\n\u2028\u2029\n",
    "noncharacter": "\ufffe\uffff\U0010ffff",
    "private": "\ue000",
    "long": "ha" * 500_000,
    "quotes": "'\";--\\${key}{{x}}{% raw %}",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_it_comes_back_exactly(tmp_path: Path, text: str) -> None:
    rows = evidence(3, lambda _: text)
    with open_tiny(tmp_path / "run") as run:
        run.write_shard("evidence", 0, planned=3, kept=to_table(rows, EVIDENCE), rejected=to_table([], REJECTED))
        kept, _ = run.read_shard("evidence", 0)
        assert to_records(kept, Evidence) == rows


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "\udc00\ud800", "\ud83d then \ude00"])
def test_a_lone_surrogate_names_its_row_and_not_its_text(text: str) -> None:
    poisoned = Evidence.model_construct(**(dict(evidence(1)[0]) | {"cause": text}))
    with pytest.raises(TableError, match="cause: lone surrogate U") as caught:
        to_table([*evidence(2), poisoned], EVIDENCE)
    assert caught.value.where == "table evidence, row 2"
    str(caught.value).encode()  # the message itself can be printed


IN_A_REPLY = {
    **{name: f"I saw {text} at the old bridge." for name, text in STRANGE.items() if name != "long"},
    "high surrogate": "I saw \ud83d at the old bridge.",
    "low surrogate": "I saw \udc00\ud800 at the old bridge.",
    "joined": "I saw a man\u200d and a\u200c woman at the bridge.",
    "tags": "I saw the ship" + "".join(chr(0xE0000 + ord(char)) for char in "joy") + " at the bridge.",
    "blank letters": "I saw \u3164\u115f the ship at the old bridge.",
    "only hidden": "\u200b\u200d\u2060\ufeff",
    "form feeds": "I saw\x0c\x0b the ship\u2028 at the bridge.",
}


@pytest.mark.parametrize("escaped", [True, False])
def test_in_a_reply_it_is_normalised_or_the_row_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, escaped: bool
) -> None:
    strange = list(IN_A_REPLY.values())

    def say(number: int, request: ChatRequest, good: str) -> str | None:
        if number >= len(strange):
            return None
        # escaped as JSON does it, or as a server may send it
        return json.dumps(json.loads(good) | {"line": strange[number]}, ensure_ascii=escaped)

    asked = answer_lines(monkeypatch, say)
    settings = ("utterances.candidates=1", "gates.max_reason_share=1", "shard_rows=8", "utterances.contextual_rows=0")
    release = build_in_turn(write_recipe(tmp_path, rows=40), tmp_path / "out", *settings)
    assert len(asked) >= len(strange)
    assert release.planned == release.kept + release.rejected
    texts = [row["text"] for row in rows(tmp_path / "out")]
    assert len(texts) == release.kept > 10
    for text in texts:
        assert text == unicodedata.normalize("NFC", text)
        hidden = {char for char in text if unicodedata.category(char) in {"Cc", "Cs"}}
        assert not hidden
        assert not {"\u202e", "\u2066", "\u200b", "\ufeff"} & set(text)
