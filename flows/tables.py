# SPDX-License-Identifier: Apache-2.0
"""Rows of a table of stories: JSON lines, CSV, Parquet or a dataset of the Hub, with its columns mapped to ours."""

import csv
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from flows.drafts import MAX_STORY_BYTES
from flows.recipe import Recipe
from validators.errors import HubError, InputError
from validators.problems import did_you_mean

TABLES = (".jsonl", ".csv", ".parquet")

_SURPLUS = "\0"  # no column can be called this

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row with our column names; `where` names file and line for an error."""

    where: str
    text: str
    title: str | None
    source: str | None
    licence: str | None
    language: str | None
    section: str | None


def table_rows(recipe: Recipe, path: Path) -> Iterator[TableRow]:
    """Read a table file row by row."""
    read = {".jsonl": jsonl_rows, ".csv": csv_rows, ".parquet": parquet_rows}[path.suffix.lower()]
    return _mapped(recipe, str(path), read(path))


def hub_rows(recipe: Recipe) -> Iterator[TableRow]:
    """Read a dataset of the Hub at the recipe's commit; with a limit, in the order of a seeded shuffle."""
    import datasets

    stories = recipe.stories
    where = f"{stories.hub}@{stories.revision}"
    try:
        dataset = datasets.load_dataset(
            cast("str", stories.hub), name=stories.config, split=stories.split, revision=stories.revision
        )
    except ValueError as error:  # unknown config or split: the message lists the known ones
        raise recipe.error(("stories", "hub"), f"dataset cannot be used: {error}") from error
    except (OSError, RuntimeError) as error:
        raise HubError(
            f"The dataset {where} cannot be read ({type(error).__name__}).",
            where=where,
            next_step="Check name, revision and network; a private dataset needs HF_TOKEN in the environment.",
        ) from error
    order = list(range(len(dataset)))
    if stories.limit is not None and stories.columns.section is None:
        random.Random(recipe.seed).shuffle(order)  # noqa: S311  (a sample, not a secret)
    rows = ((f"{where}, row {position}", cast("Row", dataset[position])) for position in order)
    return _mapped(recipe, where, rows)


def decode(data: bytes, where: str) -> str:
    """Decode UTF-8, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _not_utf8(f"{where}, line {line}") from error


def _not_utf8(where: str) -> InputError:
    return InputError(
        "A story file is not UTF-8.",
        where=where,
        next_step="Save it as UTF-8, for example: iconv -f latin1 -t utf-8 old.txt > new.txt",
    )


def _mapped(recipe: Recipe, where: str, rows: Iterator[tuple[str, Row]]) -> Iterator[TableRow]:
    names: dict[str, str | None] | None = None
    for place, row in rows:
        names = names or _column_names(recipe, where, row)
        cells = {ours: _cell(row, theirs, place) for ours, theirs in names.items()}
        text = cells.pop("text") or ""
        yield TableRow(where=place, text=text, **cells)


def _column_names(recipe: Recipe, where: str, row: Row) -> dict[str, str | None]:
    """Find the column of each kind; one that the recipe names must be there."""
    known = [str(column) for column in row]
    names: dict[str, str | None] = {}
    for ours, theirs in recipe.stories.columns.model_dump().items():
        wanted = theirs or ours
        if wanted in known:
            # without being asked, rows are not joined to stories: 'section' may mean anything
            names[ours] = wanted if theirs or ours != "section" else None
        elif theirs is not None:
            hint = did_you_mean(wanted, known)
            raise recipe.error(("stories", "columns", ours), f"{where} has no column '{wanted}'. {hint}")
        else:
            names[ours] = "license" if ours == "licence" and "license" in known else None
    if names["section"] and not names["title"]:
        raise recipe.error(
            ("stories", "columns", "section"), f"rows are joined by their title, but {where} has no column for it"
        )
    return names


def _cell(row: Row, column: str | None, where: str) -> str | None:
    value = None if column is None else row.get(column)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int | float):
        return str(value)
    raise InputError(
        f"Column '{column}' holds something other than text.", where=where, next_step="Name a column of plain text."
    )


def jsonl_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read a JSONL file, each row with where it stands."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            text = decode(line, where).strip()
            if not text:
                continue
            try:
                row = json.loads(text)
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(
                    "A line is not JSON.", where=where, next_step="Put one JSON object on each line."
                ) from error
            if not isinstance(row, dict):
                raise InputError(
                    "A line is no JSON object.", where=where, next_step='Write lines such as {"text": "..."}.'
                )
            yield where, row


def csv_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read a CSV file row by row, each with file and line for an error."""
    csv.field_size_limit(MAX_STORY_BYTES)  # the usual 128 KB is less than a long story
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey=_SURPLUS, strict=True)
        try:
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if any(row.pop(_SURPLUS, [])):  # empty cells at the end come from spreadsheets
                    raise InputError(
                        "A row has more cells than the header.",
                        where=where,
                        next_step="Put text with commas in quotes.",
                    )
                yield where, row
        except UnicodeDecodeError as error:
            raise _not_utf8(f"{path}, after line {reader.line_num}") from error
        except csv.Error as error:
            where = f"{path}, line {reader.line_num}"
            raise InputError(f"A row is not CSV: {error}.", where=where, next_step="Check its quotes.") from error


def parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read a Parquet file, each row with where it stands."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is not a readable Parquet file.", where=str(path), next_step="Make it anew."
        ) from error
