# SPDX-License-Identifier: Apache-2.0
import types
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import pytest
from pydantic import BaseModel

from tests.flows.shards import evidence, utterance
from validators.records import Evidence, Intended, Perceived, Record, RejectedRow, Story, Utterance
from validators.schemas import (
    COLUMN_DESCRIPTIONS,
    EVIDENCE,
    REJECTED,
    SCHEMA_VERSION,
    STORIES,
    UTTERANCES,
    TableError,
    table_name,
    to_records,
    to_table,
)

PAIRS: list[tuple[type[Record], pa.Schema]] = [
    (Utterance, UTTERANCES),
    (RejectedRow, REJECTED),
    (Evidence, EVIDENCE),
    (Story, STORIES),
]
SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_type(annotation: Any) -> tuple[Any, bool]:
    """The Arrow type that a record's annotation calls for, and whether it may be null."""
    if get_origin(annotation) in {Union, types.UnionType}:
        (some,) = [part for part in get_args(annotation) if part is not type(None)]
        return arrow_type(some)[0], type(None) in get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return arrow_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        (kind,) = {type(choice) for choice in get_args(annotation)}
        return (pa.int8() if kind is int else SCALARS[kind]), False  # a choice of numbers is small
    if get_origin(annotation) is tuple:
        item, nullable = arrow_type(get_args(annotation)[0])
        return pa.list_(pa.field("element", item, nullable=nullable)), False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(arrow_fields(annotation)), False
    return SCALARS[annotation], False


def arrow_fields(record: type[BaseModel]) -> list[pa.Field]:
    fields = []
    for name, field in record.model_fields.items():
        kind, nullable = arrow_type(field.annotation)
        fields.append(pa.field(name, kind, nullable=nullable))
    return fields


@pytest.mark.parametrize(("record", "schema"), PAIRS)
def test_schema_and_record_cannot_drift_apart(record: type[Record], schema: pa.Schema) -> None:
    expected = pa.schema(arrow_fields(record))
    assert schema.equals(expected), f"{schema}\n---\n{expected}"
    for mine, theirs in zip(schema, expected, strict=True):
        assert mine.equals(theirs), mine.name  # schema.equals is not strict about nested nullability in every version


@pytest.mark.parametrize(("record", "schema"), PAIRS)
def test_every_column_is_described(record: type[Record], schema: pa.Schema) -> None:
    assert list(COLUMN_DESCRIPTIONS[table_name(schema)]) == schema.names
    assert all(text.endswith(".") for text in COLUMN_DESCRIPTIONS[table_name(schema)].values())


@pytest.mark.parametrize(("record", "schema"), PAIRS)
def test_the_version_travels_with_the_schema(record: type[Record], schema: pa.Schema) -> None:
    assert schema.metadata[b"affectory_schema_version"] == str(SCHEMA_VERSION).encode()
    empty = to_table([], schema)
    assert empty.num_rows == 0
    assert empty.schema.equals(schema, check_metadata=True)
    assert to_records(empty, record) == []


def test_a_key_too_many_or_too_few_is_an_error() -> None:
    with pytest.raises(TableError, match="an Intended does not fit the schema: unknown intensity, missing character"):
        to_table([*evidence(1), Intended(label="x", intensity=None, cause="")], EVIDENCE)
    short = Evidence.model_construct(**{k: v for k, v in evidence(1)[0].model_dump().items() if k != "cause"})
    with pytest.raises(TableError, match="missing cause") as caught:
        to_table([*evidence(2), short], EVIDENCE)
    assert caught.value.where == "table evidence, row 2"


@pytest.mark.parametrize(
    ("column", "value", "misfit"),
    [
        ("section", 1.0, "section: int64 expected, float found"),
        ("section", True, "section: int64 expected, bool found"),
        ("section", 2**63, "section: int64 expected, int found"),
        ("text", None, "text: null where a value is required"),
        ("text", b"x", "text: text expected, bytes found"),
        ("realised", 1, "realised: a bool expected, int found"),
        ("perceived", "joy", "perceived: a list expected, str found"),
        ("perceived", (None,), r"perceived: \[0\]: null where"),
        ("perceived", ({"label": "a", "score": float("nan")},), r"perceived: \[0\]: score: a finite float"),
        ("perceived", ({"label": "a", "score": 1},), r"perceived: \[0\]: score: a finite float"),
        ("perceived", ({"label": "a", "score": 1.0, "x": 1},), r"perceived: \[0\]: unknown x"),
        ("intended", {"label": "a", "cause": ""}, "intended: missing intensity"),
        ("intended", "joy", "intended: keys and values expected, str found"),
        ("intended", {"label": "a", "cause": "", "intensity": 300}, "intended: intensity: int8 expected"),
        ("text", "secret \udc00", r"text: lone surrogate U\+DC00 at character 7"),
    ],
)
def test_a_wrong_value_is_named_and_not_shown(column: str, value: object, misfit: str) -> None:
    row = Utterance.model_construct(**(dict(utterance()) | {column: value}))
    with pytest.raises(TableError, match=misfit) as caught:
        to_table([row], UTTERANCES)
    assert "secret" not in str(caught.value)


def test_a_table_that_the_record_does_not_allow_is_an_error() -> None:
    table = to_table(evidence(2), EVIDENCE)
    with pytest.raises(TableError, match="row 0 is not a Perceived"):
        to_records(table, Perceived)
    bad = table.set_column(1, EVIDENCE.field("section"), pa.array([0, -1]))
    with pytest.raises(TableError, match="row 1 is not an Evidence: section"):
        to_records(bad, Evidence)
