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


def _required(name: str, kind: pa.DataType) -> Field:
    return pa.field(name, kind, nullable=False)


def _optional(name: str, kind: pa.DataType) -> Field:
    return pa.field(name, kind, nullable=True)


def _list(kind: pa.DataType) -> pa.DataType:
    # "element" is the name Parquet gives list items, so the schema that comes back from a file is the one written.
    return pa.list_(pa.field("element", kind, nullable=False))


def _schema(table: str, fields: Sequence[Field]) -> pa.Schema:
    metadata: dict[bytes | str, bytes | str] = {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _TABLE_KEY: table.encode()}
    return pa.schema(fields, metadata=metadata)


TEXT: Final = pa.string()
INTEGER: Final = pa.int64()  # records bound section and attempt from below alone

INTENDED: Final = pa.struct([_required("label", TEXT), _optional("intensity", pa.int8()), _required("cause", TEXT)])

PERCEIVED: Final = _list(pa.struct([_required("label", TEXT), _required("score", pa.float64())]))

UTTERANCES: Final = _schema(
    "utterances",
    [
        _required("utterance_id", TEXT),
        _required("story_id", TEXT),
        _required("title", TEXT),
        _required("section", INTEGER),
        _required("character", TEXT),
        _required("text", TEXT),
        _optional("context", TEXT),
        _optional("text_ambiguous", TEXT),
        _required("language", TEXT),
        _required("intended", INTENDED),
        _optional("manner", TEXT),
        _optional("canonical_label", TEXT),
        _optional("perceived", PERCEIVED),
        _optional("perceived_in_context", PERCEIVED),
        _optional("perceived_ambiguous", PERCEIVED),
        _optional("perceived_ambiguous_in_context", PERCEIVED),
        _optional("realised", pa.bool_()),
        _optional("realised_at_first", pa.bool_()),
        _required("attempts", INTEGER),
        _required("writer", TEXT),
        _required("writer_licence", TEXT),
        _optional("reader", TEXT),
        _required("prompt_sha256", TEXT),
        _required("seed", INTEGER),
        _required("split", TEXT),
        _required("source", TEXT),
        _required("source_licence", TEXT),
    ],
)

PLANNED: Final = _schema(
    "planned",
    [
        _required("utterance_id", TEXT),
        _required("story_id", TEXT),
        _required("section", INTEGER),
        _required("character", TEXT),
        _required("intended", INTENDED),
        _optional("manner", TEXT),
        _required("contextual", pa.bool_()),
        _required("split", TEXT),
        _required("avoid", _list(TEXT)),
        _required("seed", INTEGER),
    ],
)

REJECTED: Final = _schema(
    "rejected",
    [
        _required("planned_id", TEXT),
        _required("stage", TEXT),
        _required("gate", TEXT),
        _required("reason", TEXT),
        _required("detail", TEXT),
        _required("label", TEXT),
        _required("attempt", INTEGER),
        _required("seed", INTEGER),
        _required("reply", TEXT),
        _required("heard", TEXT),
    ],
)

EVIDENCE: Final = _schema(
    "evidence",
    [
        _required("story_id", TEXT),
        _required("section", INTEGER),
        _required("character", TEXT),
        _required("label", TEXT),
        _required("cause", TEXT),
        _required("origin", TEXT),
    ],
)

FEELINGS: Final = _list(
    pa.struct(
        [
            _required("section", INTEGER),
            _required("character", TEXT),
            _required("label", TEXT),
            _required("cause", TEXT),
        ]
    )
)

STORIES: Final = _schema(
    "stories",
    [
        _required("story_id", TEXT),
        _required("title", TEXT),
        _required("source", TEXT),
        _required("licence", TEXT),
        _required("language", TEXT),
        _required("sections", _list(TEXT)),
        _required("feelings", FEELINGS),
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
