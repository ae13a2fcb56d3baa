# SPDX-License-Identifier: Apache-2.0
"""Train a reader on labelled texts, measure it on others, and keep it with its card."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from flows.reader_card import render_reader_card
from flows.reader_evaluation import evaluate_reader, refuse_one_class
from flows.readers_store import describe_reader, refuse_occupied, refuse_other_labels, save_reader
from flows.told_feelings import PeoplesFeelings, measure_told, read_told
from generators.readers.head import HeadReader, OnStep
from generators.readers.training import HeadSettings, train_head
from validators.agreement import Agreement
from validators.labelled import LabelledTexts
from validators.roles import Encoder
from validators.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class TrainedReader:
    """A reader with the figures of its card."""

    reader: HeadReader
    agreement: Agreement
    feelings: PeoplesFeelings | None
    folder: Path


def train_reader(
    data: LabelledTexts,
    evaluation: LabelledTexts,
    *,
    taxonomy: Taxonomy,
    encoder: Encoder,
    folder: Path,
    encoder_licence: str = "",
    settings: HeadSettings | None = None,
    fairytaleqa: Path | None = None,
    on_step: OnStep | None = None,
) -> TrainedReader:
    """Train on `data`, measure on `evaluation` and write the reader to `folder`.

    Calibration and thresholds come from `data` alone. With `fairytaleqa`, the folder of a clone, the card also tells
    how far the reader agrees with people on what characters feel. Raises InputError where the labels are not the
    taxonomy's, nothing can be measured, or the folder is taken; all before the training begins.
    """
    settings = settings or HeadSettings()
    refuse_occupied(folder)
    for one in (data, evaluation):
        refuse_other_labels(one.labels, taxonomy.names, f"The data {one.name}", one.name)
    refuse_one_class(evaluation)
    shared = shared_texts(data, evaluation)
    told = None if fairytaleqa is None else read_told(fairytaleqa, taxonomy)
    reader = train_head(data, encoder, settings, on_step=on_step)
    figures = evaluate_reader(reader, evaluation, on_step=on_step)
    feelings = None if told is None else measure_told(reader, told, on_step=on_step)
    card_figures: dict[str, JsonValue] = {"agreement": figures.as_json(), "texts_shared_with_training": shared}
    if feelings is not None:
        card_figures["fairytaleqa"] = feelings.as_json()
    record = describe_reader(
        reader,
        taxonomy=taxonomy,
        data=data,
        encoder_licence=encoder_licence,
        settings=_plain(settings),
        evaluation=evaluation,
        figures=card_figures,
    )
    positives = dict(zip(data.labels, data.chosen.sum(axis=0).tolist(), strict=True))
    card = render_reader_card(record, figures, positives, shared, feelings)
    save_reader(folder, reader, record, card)
    return TrainedReader(reader, figures, feelings, folder)


def shared_texts(one: LabelledTexts, other: LabelledTexts) -> int:
    """How many texts of `other` are in `one` too, whatever their case; the card tells it."""
    known = set(_folded(one.texts))
    return sum(text in known for text in _folded(other.texts))


def _folded(texts: Iterable[str]) -> Iterable[str]:
    return (text.casefold() for text in texts)


def _plain(settings: HeadSettings) -> Mapping[str, JsonValue]:
    plain: dict[str, JsonValue] = asdict(settings)
    del plain["threads"]  # it changes nothing
    return plain
