# SPDX-License-Identifier: Apache-2.0
"""A trained reader on disk: `reader.safetensors` (all numbers), `README.md` (the card), `reader.json` (what it is).

`reader.json` is written last: where it is missing, training did not end. A reader that is there is never written over,
since rows name it by its hash.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flows.atomic import is_temp, refuse_symlink, storage_errors, write_bytes
from generators.readers.head import HeadReader, HeadState
from validators.errors import InputError, ModelError, StorageError
from validators.labelled import LabelledTexts
from validators.records import Record, Text
from validators.roles import Encoder
from validators.taxonomy import Taxonomy

ARRAYS, CARD, RECORD = "reader.safetensors", "README.md", "reader.json"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "sentence-transformers", "torch")
"""Whose versions are noted: they may change the last digits of a reader trained anew."""

TRAIN_AGAIN = "Train it again: affectory train-reader --help"


class DataUsed(Record):
    """Labelled data that a reader was trained or evaluated on."""

    name: Text
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rows: Annotated[int, Field(ge=1)]
    licence: Text

    @classmethod
    def of(cls, data: LabelledTexts) -> Self:
        """Note the data."""
        return cls(name=data.name, sha256=data.sha256, rows=len(data), licence=data.licence)


class ReaderRecord(Record):
    """What a trained reader is; all but the figures decides its scores, and is checked when it is loaded."""

    format: Literal[1] = 1
    method: Literal["head"] = "head"
    name: Text
    model: Text
    """Name and hash of all that decides a score: the labels, the encoder and the arrays."""
    taxonomy: Text
    labels: Annotated[tuple[Text, ...], Field(strict=False, min_length=2)]
    encoder: Text
    """Name and revision."""
    encoder_licence: Text
    data: DataUsed
    settings: dict[str, JsonValue]
    thresholds: dict[str, float]
    """For people to read; they must be those in the arrays, which count."""
    calibration: dict[str, Annotated[tuple[float, ...], Field(strict=False)]]
    """For each label c, u and v of generators/readers/head.py; likewise."""
    arrays_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    versions: dict[str, str]
    evaluation: DataUsed | None = None
    figures: dict[str, JsonValue] = Field(default_factory=dict)


def describe_reader(
    reader: HeadReader,
    *,
    taxonomy: Taxonomy,
    data: LabelledTexts,
    encoder_licence: str,
    settings: Mapping[str, JsonValue],
    evaluation: LabelledTexts | None = None,
    figures: Mapping[str, JsonValue] | None = None,
) -> ReaderRecord:
    """Say what a reader is, for `save_reader`."""
    columns = list(enumerate(reader.labels))
    return ReaderRecord(
        name=reader.name,
        model=reader.model,
        taxonomy=taxonomy.name,
        labels=reader.labels,
        encoder=reader.encoder.model,
        encoder_licence=encoder_licence or "unknown",
        data=DataUsed.of(data),
        settings=dict(settings),
        thresholds={label: float(reader.thresholds[column]) for column, label in columns},
        calibration={label: tuple(reader.state.combination[column].tolist()) for column, label in columns},
        arrays_sha256=sha256(_arrays(reader)).hexdigest(),
        versions={name: version(name) for name in LIBRARIES},
        evaluation=None if evaluation is None else DataUsed.of(evaluation),
        figures=dict(figures or {}),
    )


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder that holds a reader or something else; call it before the training, which takes minutes."""
    refuse_symlink(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file.", where=str(folder), next_step="Name a folder for the reader.")
    if (folder / RECORD).exists():
        raise InputError(
            f"{folder} holds a trained reader.",
            where=str(folder),
            next_step="Name another folder, or remove it: rows that it has read name it by its hash.",
        )
    others = sorted(file.name for file in folder.iterdir() if file.name not in {ARRAYS, CARD} and not is_temp(file))
    if others or ((folder / CARD).exists() and not (folder / ARRAYS).exists()):
        raise InputError(
            f"{folder} holds something other than a reader: {', '.join(others[:5]) or CARD}.",
            where=str(folder),
            next_step="Name an empty or a new folder.",
        )


def save_reader(folder: Path, reader: HeadReader, record: ReaderRecord, card: str) -> None:
    """Write a reader; whoever finds `reader.json` finds all of it."""
    refuse_occupied(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / ARRAYS, _arrays(reader))
    write_bytes(folder / CARD, card.encode())
    write_bytes(folder / RECORD, record.model_dump_json(indent=1).encode() + b"\n")


def load_record(folder: Path) -> ReaderRecord:
    """Read what a reader is."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{folder} holds no trained reader: there is no {RECORD}.", where=str(folder), next_step=TRAIN_AGAIN
        )
    try:
        return ReaderRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} is damaged: {place} {first['msg']}.", where=str(path), next_step=TRAIN_AGAIN
        ) from None


def reader_sha256(folder: Path) -> str:
    """Hash of all that decides the scores of a reader, as its record says; `load_reader` checks it."""
    return load_record(folder).model.rpartition("@")[2]


def load_reader(folder: Path, taxonomy: Taxonomy, encoder: Encoder) -> HeadReader:
    """Read a reader back; its scores are those it had when it was saved.

    Raises InputError where its labels are not those of the taxonomy or the encoder is another one, StorageError where a
    file is not the one that was written.
    """
    record = load_record(folder)
    refuse_other_labels(record.labels, taxonomy.names, f"The reader {record.name}", str(folder))
    if record.encoder != encoder.model:
        raise InputError(
            f"The reader {record.name} was trained with the encoder {record.encoder}, not {encoder.model}.",
            where=str(folder),
            next_step="Name that encoder, or train a reader with this one: affectory train-reader --help",
        )
    path = folder / ARRAYS
    with storage_errors(path):
        content = path.read_bytes()
    if sha256(content).hexdigest() != record.arrays_sha256:
        raise StorageError(f"{path} is damaged: its hash differs.", where=str(path), next_step=TRAIN_AGAIN)
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ModelError(f"{path} cannot be read: {error}", where=str(path), next_step=TRAIN_AGAIN) from error
    state = HeadState.from_arrays(arrays, len(record.labels))
    reader = HeadReader(record.name, record.labels, encoder, state)
    told = {label: float(threshold) for label, threshold in zip(reader.labels, reader.thresholds, strict=True)}
    if reader.model != record.model or told != record.thresholds:
        raise StorageError(
            f"{folder / RECORD} was changed: its labels, encoder or thresholds do not belong to its arrays.",
            where=str(folder),
            next_step=TRAIN_AGAIN,
        )
    return reader


def refuse_other_labels(found: Sequence[str], wanted: Sequence[str], who: str, where: str) -> None:
    """Refuse labels that are not those of the taxonomy in its order, and name the differing ones."""
    if tuple(found) == tuple(wanted):
        return
    lacking = ", ".join(label for label in wanted if label not in found)
    beyond = ", ".join(label for label in found if label not in wanted)
    told = [f"it lacks {lacking}" if lacking else "", f"it has {beyond} beyond" if beyond else ""]
    raise InputError(
        f"{who} has other labels than the taxonomy: {' and '.join(filter(None, told)) or 'their order differs'}.",
        where=where,
        next_step="Use the taxonomy that it was trained for, or train a reader for this one.",
    )


def _arrays(reader: HeadReader) -> bytes:
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in reader.state.arrays().items()})
    return content
