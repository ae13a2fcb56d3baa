# SPDX-License-Identifier: Apache-2.0
"""Measure the reader of a recipe on labelled texts, fit the weights of an ensemble on others, and keep both on disk.

A folder holds `README.md` (the card) and, written last, `reader.json`: what was measured and, for an ensemble, its
weights. A recipe names the folder in `reader.path`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, ValidationError

from flows.atomic import storage_errors, write_bytes
from flows.markdown import interval_cells, markdown_table, number
from flows.reader_evaluation import read_all, refuse_one_class
from flows.readers_store import CARD, RECORD, DataUsed, refuse_occupied, refuse_other_labels
from generators.readers.ensemble import Blend, even_blend, fit_weights
from generators.readers.head import OnStep
from generators.sampling import stratified_sample
from validators.agreement import Agreement, agreement
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.records import Record, Text
from validators.roles import Passage, Reader
from validators.taxonomy import Taxonomy

Floats = NDArray[np.float64]

FIT_AGAIN = "fit it again: affectory measure-reader RECIPE DATA --fit DATA --output FOLDER"


class MeasuredRecord(Record):
    """A reader with its figures, and the weights of its members where it is an ensemble that was fitted."""

    format: Literal[1] = 1
    method: Literal["measured"] = "measured"
    model: Text
    taxonomy: Text
    labels: Annotated[tuple[Text, ...], Field(strict=False, min_length=2)]
    members: Annotated[tuple[Text, ...], Field(strict=False)]
    """Name and revision of each reader; of one alone, its own."""
    weights: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    bias: dict[str, float] | None = None
    thresholds: dict[str, float] | None = None
    fitted_on: DataUsed | None = None
    evaluation: DataUsed
    figures: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, by the name of who read: each member, all with even weights, all as fitted."""

    figures: Mapping[str, Agreement]
    blend: Blend | None


def measure_reader(
    readers: Sequence[Reader],
    evaluation: LabelledTexts,
    *,
    fit: LabelledTexts | None = None,
    rows: int,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Measured:
    """Measure one reader, or the members of an ensemble and their blends.

    At most `rows` rows of each data are read, drawn so that labels keep their shares. With `fit` the weights come from
    there. Raises InputError where labels do not fit or nothing can be measured.
    """
    evaluation = _sample(evaluation, readers, rows, seed)
    refuse_one_class(evaluation)
    if fit is not None and len(readers) < 2:
        raise InputError(
            "there is nothing to fit: the recipe's reader is one alone",
            where="reader",
            next_step="name an ensemble in the recipe, or leave out --fit",
        )
    scores = _read(readers, evaluation, on_step, "evaluating")
    labels = readers[0].labels

    def figures(found: Floats, thresholds: Floats) -> Agreement:
        return agreement(evaluation.chosen, found, thresholds, labels)

    told = {reader.model: figures(found, reader.thresholds) for reader, found in zip(readers, scores, strict=True)}
    if len(readers) < 2:
        return Measured(told, None)
    blends = {"even weights": even_blend(len(readers), len(labels))}
    if fit is not None:
        lessons = _sample(fit, readers, rows, seed)
        blends["fitted weights"] = fit_weights(_read(readers, lessons, on_step, "fitting"), lessons.targets)
    for name, blend in blends.items():
        own = blend.combine([reader.thresholds for reader in readers])
        told[name] = figures(blend.combine(scores), own if blend.thresholds is None else blend.thresholds)
    return Measured(told, blends.get("fitted weights"))


def save_measured(
    folder: Path,
    model: str,
    readers: Sequence[Reader],
    measured: Measured,
    *,
    taxonomy: Taxonomy,
    evaluation: LabelledTexts,
    fit: LabelledTexts | None,
) -> None:
    """Write card and record; whoever finds `reader.json` finds all of it."""
    blend, labels = measured.blend, taxonomy.names
    by_label = None if blend is None else dict(zip(labels, blend.bias.tolist(), strict=True))
    thresholds = None if blend is None or blend.thresholds is None else blend.thresholds.tolist()
    record = MeasuredRecord(
        model=model,
        taxonomy=taxonomy.name,
        labels=labels,
        members=tuple(reader.model for reader in readers),
        weights=None if blend is None else blend.weights,
        bias=by_label,
        thresholds=None if thresholds is None else dict(zip(labels, thresholds, strict=True)),
        fitted_on=None if fit is None else DataUsed.of(fit),
        evaluation=DataUsed.of(evaluation),
        figures={name: one.as_json() for name, one in measured.figures.items()},
    )
    refuse_occupied(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / CARD, render_measured(record, measured).encode())
    write_bytes(folder / RECORD, record.model_dump_json(indent=1).encode() + b"\n")


def weights_sha256(folder: Path) -> str:
    """Hash of the weights of an ensemble, for the identity of a run."""
    return _blend(_load(folder), folder).sha256


def load_blend(folder: Path, taxonomy: Taxonomy, members: Sequence[str]) -> Blend:
    """Read the weights of an ensemble back; `members` are the readers that they must belong to."""
    record = _load(folder)
    refuse_other_labels(record.labels, taxonomy.names, "The ensemble", str(folder))
    if tuple(members) != record.members:
        raise InputError(
            f"the weights belong to {' and '.join(record.members)}, not to {' and '.join(members)}",
            where=str(folder),
            next_step=f"name those members in this order, or {FIT_AGAIN}",
        )
    return _blend(record, folder)


def _load(folder: Path) -> MeasuredRecord:
    path = folder / RECORD
    try:
        with storage_errors(path):
            record = MeasuredRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} holds no weights of an ensemble: {place} {first['msg']}", where=str(path), next_step=FIT_AGAIN
        ) from None
    return record


def _blend(record: MeasuredRecord, folder: Path) -> Blend:
    if record.weights is None or record.bias is None:
        raise InputError(f"{folder} holds figures, and no weights", where=str(folder), next_step=FIT_AGAIN)
    thresholds = None if record.thresholds is None else np.array([record.thresholds[one] for one in record.labels])
    return Blend(record.weights, np.array([record.bias[label] for label in record.labels]), thresholds)


def render_measured(record: MeasuredRecord, measured: Measured) -> str:
    """Render README.md. Same reader and data, same card: it holds no times and no paths."""
    rows = [
        [
            name,
            *interval_cells(one.macro_auc),
            *interval_cells(one.macro_f1),
            number(one.top_1_accuracy),
            number(one.top_3_accuracy),
            number(one.macro_calibration_error),
        ]
        for name, one in measured.figures.items()
    ]
    best = list(measured.figures.values())[-1]
    weights = record.weights or ()
    parts = [
        "# How far a reader agrees with people",
        f"`{record.model}`, read on {record.evaluation.rows} rows of {record.evaluation.name} (licence "
        f"{record.evaluation.licence}, sha256 `{record.evaluation.sha256[:16]}`); labels of the taxonomy "
        f"`{record.taxonomy}`. Intervals are bootstrapped.",
        markdown_table(
            ["reader", "macro AUC", "", "macro F1", "", "first right", "in first three", "calibration error"], rows
        ),
        ""
        if record.fitted_on is None
        else f"Weights fitted on {record.fitted_on.rows} rows of {record.fitted_on.name} (licence "
        f"{record.fitted_on.licence}, sha256 `{record.fitted_on.sha256[:16]}`), which were not measured on: "
        + ", ".join(f"{weight:.3g} {name}" for weight, name in zip(weights, record.members, strict=True))
        + ".",
        "## Labels (the last of the readers above)",
        markdown_table(
            ["label", "AUC", "F1", "calibration error", "rows"],
            [
                [label, number(one.auc), number(one.f1), number(one.calibration_error), str(one.positives)]
                for label, one in best.per_label.items()
            ],
        ),
        "The labels are those of the people who labelled the data, with their culture, language and time; the reader "
        "must not be used to judge what real persons feel.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sample(data: LabelledTexts, readers: Sequence[Reader], rows: int, seed: int) -> LabelledTexts:
    for reader in readers:
        refuse_other_labels(data.labels, reader.labels, f"The data {data.name}", data.name)
    return data.take(stratified_sample(data.targets, rows, seed))


def _read(readers: Sequence[Reader], data: LabelledTexts, on_step: OnStep | None, stage: str) -> list[Floats]:
    passages = [Passage(text) for text in data.texts]
    return [
        read_all(reader, passages, on_step=on_step, stage=f"{stage} {number} of {len(readers)}")
        for number, reader in enumerate(readers, 1)
    ]
