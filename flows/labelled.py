# SPDX-License-Identifier: Apache-2.0
"""Labelled texts that the user names: a file or a dataset of the Hub, its labels mapped to those of a taxonomy.

Three forms of a file are read. `.tsv` as GoEmotions has it: text, label ids and comment id without a header, the names
of the ids in `labels.txt` beside it. `.csv`, `.parquet` and `.jsonl` have a column of text, and either one of labels (a
name, several with ',' or '|' between, or a list) or one for each label, of scores from 0 to 1.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import model_validator

from flows.label_map import LabelMap, read_label_map
from flows.patterns import HubName, Revision
from flows.tables import csv_rows, decode, jsonl_rows, parquet_rows
from validators.errors import HubError, InputError
from validators.labelled import LabelledTexts
from validators.problems import Place, ProblemsError, did_you_mean
from validators.records import Record, Text
from validators.text import normalise_text

log = logging.getLogger(__name__)

UNKNOWN_LICENCE = "unknown"
LABEL_COLUMNS = ("label", "labels", "emotion", "emotions")
"""Where labels are looked for when no column is named."""
_VAGUE = frozenset(
    {"train", "training", "dev", "valid", "validation", "test", "data"}
)  # names that need their folder's
_HUB = re.compile(r"hub:(?P<hub>[^@\s]+)@(?P<revision>[0-9a-f]{40})(?::(?P<split>[\w.-]+))?")

Row = Mapping[str, object]
Rows = Iterator[tuple[str, Row]]
_READERS: dict[str, Callable[[Path], Rows]] = {".csv": csv_rows, ".jsonl": jsonl_rows, ".parquet": parquet_rows}


class LabelledSpec(Record):
    """Which labelled texts: exactly one of `path` and `hub`, and where in them text and labels are."""

    path: Text | None = None
    hub: HubName | None = None
    revision: Revision | None = None
    split: Text = "train"
    config: Text | None = None
    text: Text = "text"
    """The column of the text."""
    label: Text | None = None
    """The column of the labels; without it one of LABEL_COLUMNS, or else a column for each label."""
    label_map: Text | None = None
    """A YAML file of 'theirs: ours', 'theirs: [a, b]', or 'theirs: null' for a label to leave out."""
    licence: Text | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        problems: list[tuple[Place, str]] = []
        if (self.path is None) == (self.hub is None):
            problems.append(((), "needs exactly one of path, hub"))
        if self.hub and not self.revision:
            problems.append((("hub",), "needs a revision beside it (40 hex digits), so that the data stays the same"))
        if not self.hub and (self.revision or self.config):
            problems.append((("revision" if self.revision else "config",), "only belongs to a hub dataset: remove it"))
        if problems:
            raise ProblemsError(problems)
        return self

    @classmethod
    def parse(
        cls,
        source: str,
        *,
        text: str = "text",
        label: str | None = None,
        label_map: str | None = None,
        licence: str | None = None,
        config: str | None = None,
    ) -> Self:
        """Read what a command line names: a path, or hub:owner/name@commit, with :split where it is not train."""
        hub: dict[str, str] = {}
        if source.startswith("hub:"):
            found = _HUB.fullmatch(source)
            if found is None:
                raise InputError(
                    f"{source!r} names no dataset of the Hub at a commit.",
                    where=source,
                    next_step="Write hub:owner/name@commit or hub:owner/name@commit:split, the commit with 40 digits.",
                )
            hub = {key: value for key, value in found.groupdict().items() if value}
        return cls(
            path=None if hub else source,
            hub=hub.get("hub"),
            revision=hub.get("revision"),
            split=hub.get("split", "train"),
            config=config,
            text=text,
            label=label,
            label_map=label_map,
            licence=licence,
        )

    @property
    def name(self) -> str:
        """What the data is called in cards: the Hub's name, or the file's without its path."""
        if self.hub:
            return f"{self.hub}@{self.revision}:{self.split}"
        path = Path(self.path or "")
        stem = f"{path.resolve().parent.name}-{path.stem}" if path.stem.lower() in _VAGUE else path.stem
        return re.sub(r"\s+", "-", stem)


def read_labelled(spec: LabelledSpec, labels: Sequence[str]) -> LabelledTexts:
    """Read labelled texts with one column of targets for each of `labels`, in that order.

    A row whose labels the label map leaves out altogether is left out too. Raises InputError where a column is missing,
    a text or label is empty, a label is unknown, or no row remains; HubError where the Hub does not answer.
    """
    label_map = read_label_map(Path(spec.label_map).expanduser() if spec.label_map else None, labels)
    texts: list[str] = []
    targets: list[dict[str, float]] = []
    n_left_out = 0
    for where, text, theirs in _labelled_rows(spec, label_map):
        normal = normalise_text(text)
        if not normal:
            raise InputError("A text is empty.", where=where, next_step="Fill it, or remove the row.")
        ours = label_map.translate(theirs, where)
        if theirs and not ours:
            n_left_out += 1
            continue
        texts.append(normal)
        targets.append(ours)
    label_map.refuse_unknown(spec.name)
    if n_left_out:
        log.info("%d rows of %s have no label but such as the label map leaves out", n_left_out, spec.name)
    if not texts:
        raise InputError(f"{spec.name} holds no labelled text.", where=spec.name, next_step="Name a file with rows.")
    table = np.array([[row.get(label, 0.0) for label in labels] for row in targets], dtype=np.float64)
    return LabelledTexts(
        spec.name, spec.licence or UNKNOWN_LICENCE, _sha256(texts, labels, table), tuple(texts), tuple(labels), table
    )


def _sha256(texts: Sequence[str], labels: Sequence[str], targets: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(list(labels), ensure_ascii=False).encode())
    for text, row in zip(texts, targets.tolist(), strict=True):
        digest.update(json.dumps([text, row], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def _labelled_rows(spec: LabelledSpec, label_map: LabelMap) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Place, text, and the weight of each label under their name for it."""
    if spec.hub is not None:
        yield from _mapped(spec, _hub_rows(spec), label_map)
        return
    path = Path(spec.path or "").expanduser()
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*")) if path.parent.is_dir() else []
        raise InputError(
            f"There is no file {path}. {did_you_mean(path.name, beside[:20])}",
            where=str(path),
            next_step="Name a file of labelled texts, or a dataset as hub:owner/name@commit.",
        )
    if path.suffix.lower() == ".tsv":
        yield from _goemotions_rows(path)
    elif path.suffix.lower() in _READERS:
        yield from _mapped(spec, _READERS[path.suffix.lower()](path), label_map)
    else:
        known = ", ".join((".tsv", *_READERS))
        raise InputError(f"{path.name} is of an unknown kind.", where=str(path), next_step=f"Known: {known}.")


def _goemotions_rows(path: Path) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Rows of text, label ids with ',' between, and comment id, as the authors of GoEmotions publish them."""
    names_file = path.parent / "labels.txt"
    if not names_file.is_file():
        raise InputError(
            f"The names of the label ids in {path.name} are missing.",
            where=str(names_file),
            next_step="Put labels.txt beside it, one name on each line, or use a .csv with a header.",
        )
    names = [name.strip() for name in decode(names_file.read_bytes(), str(names_file)).split("\n") if name.strip()]
    with path.open("rb") as file:  # bytes, since text files also end lines at characters that occur inside comments
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            cells = decode(line, where).rstrip("\r\n").split("\t")
            ids = cells[1].split(",") if len(cells) >= 2 else []
            if not ids or not all(one.isascii() and one.isdigit() and int(one) < len(names) for one in ids):
                raise InputError(
                    f"A line is not text, tab, label ids from 0 to {len(names) - 1}.",
                    where=where,
                    next_step="Give the ids as in GoEmotions, '3' or '3,10', or use a .csv with a header.",
                )
            yield where, cells[0], {names[int(one)]: 1.0 for one in ids}


def _mapped(spec: LabelledSpec, rows: Rows, label_map: LabelMap) -> Iterator[tuple[str, str, dict[str, float]]]:
    columns: Sequence[str] | str | None = None
    for where, row in rows:
        if columns is None:
            columns = _label_columns(spec, row, label_map)
        text = row.get(spec.text)
        if text is not None and not isinstance(text, str):
            raise InputError(
                f"Column '{spec.text}' holds something other than text.", where=where, next_step="Name another column."
            )
        if isinstance(columns, str):
            yield where, text or "", dict.fromkeys(_names(row.get(columns), columns, where), 1.0)
        else:
            yield where, text or "", {column: _weight(row.get(column), column, where) for column in columns}


def _label_columns(spec: LabelledSpec, row: Row, label_map: LabelMap) -> Sequence[str] | str:
    """The column of labels, or the columns of one label each."""
    known = [str(column) for column in row]
    for wanted in (spec.text, spec.label):
        if wanted is not None and wanted not in known:
            raise InputError(
                f"{spec.name} has no column '{wanted}'. {did_you_mean(wanted, known)}",
                where=spec.name,
                next_step="Name the columns of text and label.",
            )
    if spec.label is not None:
        return spec.label
    found = next((column for column in LABEL_COLUMNS if column in known), None)
    if found is not None:
        return found
    columns = [column for column in known if column != spec.text and label_map.knows(column)]
    if not columns:
        raise InputError(
            f"{spec.name} has no column of labels. Known: {', '.join(known)}.",
            where=spec.name,
            next_step="Name the column of labels, or call columns as the labels are called.",
        )
    return columns


def _names(value: object, column: str, where: str) -> list[str]:
    """The labels of a cell. Whole numbers stay as they are, for the label map to name."""
    items = re.split(r"[,|]", value) if isinstance(value, str) else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items) and value is not None:
        raise InputError(
            f"Column '{column}' holds something other than labels.", where=where, next_step="Name another."
        )
    names = [str(item).strip() for item in items] if value is not None else []
    if not names or not all(names):
        raise InputError("A label is empty.", where=where, next_step="Fill it, or remove the row.")
    return list(dict.fromkeys(names))


def _weight(value: object, column: str, where: str) -> float:
    """How far a label holds, from a cell of its own column."""
    try:
        number = float(value) if isinstance(value, str | int | float) else float("nan")
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise InputError(
            f"Column '{column}' of a label holds no number from 0 to 1.",
            where=where,
            next_step="Write 0 or 1 or a score between, or name the column of labels.",
        )
    return number


def _hub_rows(spec: LabelledSpec) -> Rows:
    import datasets

    where = spec.name
    try:
        dataset = datasets.load_dataset(spec.hub or "", name=spec.config, split=spec.split, revision=spec.revision)
    except ValueError as error:  # unknown config or split: the message lists the known ones
        raise InputError(
            f"The dataset cannot be used: {error}", where=where, next_step="Name another split."
        ) from error
    except (OSError, RuntimeError) as error:
        raise HubError(
            f"The dataset {where} cannot be read ({type(error).__name__}).",
            where=where,
            next_step="Check name, revision and network; a private dataset needs HF_TOKEN in the environment.",
        ) from error
    return named_rows(dataset, where)


def named_rows(dataset: "datasets.Dataset", where: str) -> Rows:  # type: ignore[name-defined]  # noqa: F821 - late
    """Rows of a `datasets.Dataset`, with the names of class labels in place of their numbers."""
    classes = {}
    for column, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)  # of a list
        if hasattr(inner, "int2str"):
            classes[column] = inner
    for position, row in enumerate(dataset):
        for column, feature in classes.items():
            if row[column] is not None:
                row[column] = feature.int2str(row[column])
        yield f"{where}, row {position}", row
