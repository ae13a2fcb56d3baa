# SPDX-License-Identifier: Apache-2.0
"""The Arrow schemas of the tables, and the strict way between records and tables.

pyarrow alone is lenient: it drops unknown keys without a word, fills missing ones with null, does not enforce
`nullable=False` before a file is written, and one lone surrogate makes the write of a whole shard fail. So every value
is checked here, and the error names row and column but never repeats the text.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from validators.arrow_checks import Field, struct_check
from validators.errors import InputError
from validators.records import Record

SCHEMA_VERSION: Final = 3

_VERSION_KEY: Final = b"affectory_schema_version"
_TABLE_KEY: Final = b"affectory_table"

R = TypeVar("R", bound=Record)


class TableError(InputError):
    """Records and a table's schema do not fit."""


def required_field(name: str, kind: pa.DataType) -> Field:
    """A column or field without nulls."""
    return pa.field(name, kind, nullable=False)


def optional_field(name: str, kind: pa.DataType) -> Field:
    """A column or field that may be null."""
    return pa.field(name, kind, nullable=True)


def list_of(kind: pa.DataType) -> pa.DataType:
    """A list whose items are never null."""
    # "element" is the name Parquet gives list items, so the schema that comes back from a file is the one written.
    return pa.list_(pa.field("element", kind, nullable=False))


def table_schema(table: str, fields: Sequence[Field]) -> pa.Schema:
    """A schema that carries the name of its table and the version of all schemas."""
    metadata: dict[bytes | str, bytes | str] = {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _TABLE_KEY: table.encode()}
    return pa.schema(fields, metadata=metadata)


TEXT: Final = pa.string()
INTEGER: Final = pa.int64()  # records bound section and attempt from below alone

INTENDED: Final = pa.struct(
    [required_field("label", TEXT), optional_field("intensity", pa.int8()), required_field("cause", TEXT)]
)

PERCEIVED: Final = list_of(pa.struct([required_field("label", TEXT), required_field("score", pa.float64())]))

UTTERANCES: Final = table_schema(
    "utterances",
    [
        required_field("utterance_id", TEXT),
        required_field("story_id", TEXT),
        required_field("title", TEXT),
        required_field("section", INTEGER),
        required_field("character", TEXT),
        required_field("text", TEXT),
        optional_field("context", TEXT),
        optional_field("text_ambiguous", TEXT),
        required_field("language", TEXT),
        required_field("intended", INTENDED),
        optional_field("manner", TEXT),
        optional_field("canonical_label", TEXT),
        optional_field("perceived", PERCEIVED),
        optional_field("perceived_in_context", PERCEIVED),
        optional_field("perceived_ambiguous", PERCEIVED),
        optional_field("perceived_ambiguous_in_context", PERCEIVED),
        optional_field("realised", pa.bool_()),
        optional_field("realised_at_first", pa.bool_()),
        required_field("attempts", INTEGER),
        required_field("writer", TEXT),
        required_field("writer_licence", TEXT),
        optional_field("reader", TEXT),
        required_field("prompt_sha256", TEXT),
        required_field("seed", INTEGER),
        required_field("split", TEXT),
        required_field("source", TEXT),
        required_field("source_licence", TEXT),
    ],
)

PLANNED: Final = table_schema(
    "planned",
    [
        required_field("utterance_id", TEXT),
        required_field("story_id", TEXT),
        required_field("section", INTEGER),
        required_field("character", TEXT),
        required_field("intended", INTENDED),
        optional_field("manner", TEXT),
        required_field("contextual", pa.bool_()),
        required_field("split", TEXT),
        required_field("avoid", list_of(TEXT)),
        required_field("seed", INTEGER),
    ],
)

REJECTED: Final = table_schema(
    "rejected",
    [
        required_field("planned_id", TEXT),
        required_field("stage", TEXT),
        required_field("gate", TEXT),
        required_field("reason", TEXT),
        required_field("detail", TEXT),
        required_field("label", TEXT),
        required_field("attempt", INTEGER),
        required_field("seed", INTEGER),
        required_field("reply", TEXT),
        required_field("heard", TEXT),
    ],
)

EVIDENCE: Final = table_schema(
    "evidence",
    [
        required_field("story_id", TEXT),
        required_field("section", INTEGER),
        required_field("character", TEXT),
        required_field("label", TEXT),
        required_field("cause", TEXT),
        required_field("origin", TEXT),
    ],
)

FEELINGS: Final = list_of(
    pa.struct(
        [
            required_field("section", INTEGER),
            required_field("character", TEXT),
            required_field("label", TEXT),
            required_field("cause", TEXT),
        ]
    )
)

STORIES: Final = table_schema(
    "stories",
    [
        required_field("story_id", TEXT),
        required_field("title", TEXT),
        required_field("source", TEXT),
        required_field("licence", TEXT),
        required_field("language", TEXT),
        required_field("sections", list_of(TEXT)),
        required_field("feelings", FEELINGS),
    ],
)

COLUMN_DESCRIPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "utterances": {
        "utterance_id": "Identifier of the row: u-<shard>-<row in the shard>, free of content.",
        "story_id": "Identifier of the story, made from its text; a story never crosses splits.",
        "title": "Title of the story.",
        "section": "Which section of the story gives cause for the emotion, counted from 0.",
        "character": "Who speaks, as named in the story.",
        "text": "The utterance, as first written.",
        "context": "The situation up to the utterance; null where the row was not made contextual.",
        "text_ambiguous": "The utterance rewritten so that the emotion shows only with `context`; null as above.",
        "language": "Language of `text` (ISO 639-1).",
        "intended": "What the writer was asked for: `label` of the recipe's taxonomy, `intensity` (1 mild, 2 strong, "
        "null where the label has none) and the `cause` in the story.",
        "manner": "For neutral alone: informing, asking, polite or flat; null otherwise.",
        "canonical_label": "`intended.label` in the canonical taxonomy; null where no map exists.",
        "perceived": "What a reader who did not know the intention found in `text` alone: labels with scores from 0 "
        "to 1 (the probability that a person would give the label), the one furthest above its threshold first; null "
        "without a reader.",
        "perceived_in_context": "The same for `text` read after `context`; null where there is no context.",
        "perceived_ambiguous": "The same for `text_ambiguous` read alone; read anew, never copied.",
        "perceived_ambiguous_in_context": "The same for `text_ambiguous` read after `context`.",
        "realised": "Whether the reader found the intended label in `text`; null without a reader.",
        "realised_at_first": "Whether it did so in the first line that passed the rules, before any repair; null as "
        "above.",
        "attempts": "How many lines were written until this one.",
        "writer": "Model and revision that wrote the row.",
        "writer_licence": "Licence of the writer's weights.",
        "reader": "Model and revision that read the row; null without a reader.",
        "prompt_sha256": "SHA-256 of the prompt text that asked for the row.",
        "seed": "Seed of the row.",
        "split": "train, validation or test.",
        "source": "Where the story comes from.",
        "source_licence": "Licence of the story.",
    },
    "rejected": {
        "planned_id": "Identifier of the planned row that was not kept.",
        "stage": "Stage at which it ended.",
        "gate": "Gate that rejected it.",
        "reason": "Key of the reason, as counted in the report.",
        "detail": "The reason in words.",
        "label": "Label the row was to have.",
        "attempt": "Which attempt this was, counted from 0.",
        "seed": "Seed of the row.",
        "reply": "What had been written so far; empty if nothing.",
        "heard": "The label that the reader ranked first where the intended one was not heard; else empty.",
    },
    "planned": {
        "utterance_id": "Identifier of the row.",
        "story_id": "Identifier of the story.",
        "section": "Which section gives cause, counted from 0.",
        "character": "Who is to speak.",
        "intended": "What the writer is to be asked for: `label`, `intensity`, `cause`.",
        "manner": "For neutral alone; null otherwise.",
        "contextual": "Whether context and rewritten text are to be written.",
        "split": "train, validation or test.",
        "avoid": "Openings and phrases that the writer is told not to use.",
        "seed": "Seed of the row.",
    },
    "evidence": {
        "story_id": "Identifier of the story.",
        "section": "Which section gives cause, counted from 0.",
        "character": "Who feels it, as named in the story.",
        "label": "The emotion.",
        "cause": "What in the section gives cause for it.",
        "origin": "given (came with the story) or model (found by a model).",
    },
    "stories": {
        "story_id": "Identifier of the story, made from its text.",
        "title": "Title of the story.",
        "source": "Where the story comes from.",
        "licence": "Licence of the story.",
        "language": "Language of the story (ISO 639-1).",
        "sections": "The text, cut at paragraph and sentence borders.",
        "feelings": "What characters are said to feel: `section`, `character`, `label` and `cause`.",
    },
}
"""Table -> column -> meaning, for the dataset card."""


def table_name(schema: pa.Schema) -> str:
    """Name a schema of ours by its metadata."""
    return ((schema.metadata or {}).get(_TABLE_KEY, b"unnamed")).decode()


def to_table(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """Make a table of exactly this schema, or raise `TableError` naming the first row and column that do not fit."""
    check = struct_check(list(schema))
    rows = [record.model_dump(warnings="none") for record in records]
    for n, row in enumerate(rows):
        misfit = check(row)
        if misfit:
            where = f"table {table_name(schema)}, row {n}"
            raise TableError(f"{_a(type(records[n]))} does not fit the schema: {misfit}", where=where)
    return pa.Table.from_pylist(rows, schema=schema)


def to_records(table: pa.Table, type: type[R]) -> list[R]:  # noqa: A002 - reads as a sentence at the call
    """Read a table back as records; a column or value that the record does not allow raises `TableError`."""
    records = []
    for n, row in enumerate(table.to_pylist()):
        try:
            records.append(type.model_validate(_with_tuples(row)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            column = ".".join(map(str, first["loc"]))
            what = f"row {n} is not {_a(type)}: {column}: {first['msg']}"
            # pydantic's own text would carry the row into the log
            raise TableError(what, where=f"table {table_name(table.schema)}, row {n}") from None
    return records


def _a(record: type[Record]) -> str:
    return f"{'an' if record.__name__[0] in 'AEIO' else 'a'} {record.__name__}"


def _with_tuples(value: object) -> object:
    """Turn lists into tuples, which frozen records hold."""
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
