# SPDX-License-Identifier: Apache-2.0
"""Vectors that are NaN, zero, short or too few, rows that are all alike, no rows, a class that is missing: a clear
error or a rejection; of rows that are alike exactly one stays, and no gate of the dataset passes on nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.backends import hashed
from generators.chat import ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe
from validators.errors import GateError, InputError, ModelError

pytestmark = pytest.mark.fault

SAME = "I left the blue lantern on the ferry and you never asked."
SETTINGS = ("utterances.contextual_rows=0", "gates.max_reason_share=1", "utterances.tries=1")

BREAK: dict[str, Any] = {
    "NaN": lambda vectors: np.where(np.arange(vectors.shape[1]) == 3, np.nan, vectors).astype(np.float32),
    "one NaN row": lambda vectors: np.where(np.arange(len(vectors))[:, None] == 1, np.nan, vectors).astype(np.float32),
    "zero": np.zeros_like,
    "infinite": lambda vectors: np.full_like(vectors, np.inf),
    "too few": lambda vectors: vectors[:-1],
    "too many": lambda vectors: np.repeat(vectors, 2, axis=0),
    "flat": lambda vectors: vectors[:, 0],
    "no dimensions": lambda vectors: vectors[:, :0],
    "deep": lambda vectors: vectors[None],
}


@pytest.mark.parametrize("name", BREAK)
def test_a_broken_encoder_is_told_and_nothing_is_dropped_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    encode = hashed.HashedEncoder.encode

    def broken(self: hashed.HashedEncoder, texts: Sequence[str]) -> Any:
        return BREAK[name](encode(self, texts))

    monkeypatch.setattr(hashed.HashedEncoder, "encode", broken)
    with pytest.raises(ModelError) as caught:
        build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *SETTINGS)
    assert caught.value.next_step
    assert not (tmp_path / "out" / "manifest.json").exists()
    if name != "NaN":
        return
    monkeypatch.undo()  # with an encoder that works the same command goes on
    release = build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *SETTINGS)
    assert release.planned == release.kept + release.rejected


def test_of_rows_that_are_all_alike_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def same(number: int, request: ChatRequest, good: str) -> str:
        return json.dumps(json.loads(good) | {"line": SAME})

    answer_lines(monkeypatch, same)
    settings = ("utterances.candidates=1", "utterances.labels=[joy, fear]", *SETTINGS)
    release = build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *settings)
    (kept,) = rows(tmp_path / "out")
    assert kept["text"] == SAME
    repeated = rows(tmp_path / "out", "work/duplicates/rejected-*.parquet")
    assert {row["reason"] for row in repeated} == {"exact_duplicate"}
    assert all(kept["utterance_id"] in row["detail"] for row in repeated)
    assert release.planned == 1 + release.rejected


@pytest.mark.parametrize(
    ("floor", "said"), [("floors.labels=3", "label"), ("floors.kept_rows=50", "kept_rows"), ("floors.realised=0.1", "")]
)
def test_a_dataset_that_lacks_what_was_asked_for_is_no_success(tmp_path: Path, floor: str, said: str) -> None:
    settings = (*SETTINGS, "utterances.labels=[joy, fear]", floor)
    with pytest.raises(GateError, match="do not pass as a dataset") as caught:
        build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *settings)
    assert said in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_row_that_passes_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_lines(monkeypatch, lambda number, request, good: "no JSON")
    with pytest.raises((GateError, InputError)):
        build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", *SETTINGS)
    assert not (tmp_path / "out" / "manifest.json").exists()
