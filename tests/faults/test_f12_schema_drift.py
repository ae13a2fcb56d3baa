# SPDX-License-Identifier: Apache-2.0
"""Rows that drift from their schema (a key missing or too many, a column of nulls, an int for a float): every shard has
the one schema, a reply with another shape is a rejected row, and `load_dataset` opens all shards together."""

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from generators.chat import ChatRequest
from tests.faults.replies import answer_lines
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.shards import evidence, utterance
from validators.records import Evidence
from validators.schemas import EVIDENCE, UTTERANCES, TableError, to_table

pytestmark = pytest.mark.fault


def test_a_key_missing_in_the_first_row_costs_no_column_of_the_second() -> None:
    plain, with_context = utterance(), utterance(utterance_id="u-00000-0001", context="She had come home.")
    table = to_table([plain, with_context], UTTERANCES)
    assert table.column("context").to_pylist() == [None, "She had come home."]
    assert to_table([plain], UTTERANCES).schema == table.schema  # a column of nulls alone has its type all the same


@pytest.mark.parametrize(
    "change",
    [{"section": 1.0}, {"section": "1"}, {"section": None}, {"cause": None}, {"cause": 3}],
    ids=str,
)
def test_a_row_of_another_shape_is_never_written(change: dict[str, object]) -> None:
    drifted = Evidence.model_construct(**(dict(evidence(1)[0]) | change))
    with pytest.raises(TableError, match=next(iter(change))):
        to_table([*evidence(1), drifted], EVIDENCE)


def test_replies_of_another_shape_are_rejected_and_the_release_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drift(number: int, request: ChatRequest, good: str) -> str | None:
        reply = json.loads(good)
        match number % 4:
            case 0:
                return json.dumps(reply | {"mood": "glad"})
            case 1:
                return json.dumps({"cause": reply.get("cause", "")})
            case 2:
                return json.dumps(reply | {"line": 1.5})
        return None

    answer_lines(monkeypatch, drift)
    settings = ("utterances.candidates=1", "gates.max_reason_share=1", "shard_rows=4")
    release = build_in_turn(write_recipe(tmp_path, rows=24), tmp_path / "out", *settings)
    assert release.planned == release.kept + release.rejected
    rejected = rows(tmp_path / "out", "work/utterances/rejected-*.parquet")
    details = {row["detail"].removeprefix("unparsable: ") for row in rejected if row["reason"] == "unparsable"}
    assert {"extra_forbidden at mood", "missing at line", "string_type at line"} <= details
    for stage in ("utterances", "evidence", "duplicates"):
        schemas = {str(pq.read_schema(path)) for path in (tmp_path / "out" / "work" / stage).glob("part-*.parquet")}
        assert len(schemas) == 1
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sum(split.num_rows for split in loaded.values()) == release.kept > 0
