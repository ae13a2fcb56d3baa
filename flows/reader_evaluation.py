# SPDX-License-Identifier: Apache-2.0
"""Measure a reader on labelled texts, with progress."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flows.readers_store import refuse_other_labels
from generators.readers.head import OnStep
from validators.agreement import Agreement, agreement
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.roles import Passage, Reader

READ_ROWS = 256  # between two words of progress, a few seconds on one core


def evaluate_reader(reader: Reader, data: LabelledTexts, *, on_step: OnStep | None = None) -> Agreement:
    """Measure how far a reader's scores agree with the labels that people chose.

    Labels that no row or every row has are named by the result and left out of its means. Raises InputError where the
    labels of the data are not the reader's, or where no label can be measured at all.
    """
    refuse_other_labels(data.labels, reader.labels, f"The data {data.name}", data.name)
    refuse_one_class(data)
    scores = read_all(reader, [Passage(text) for text in data.texts], on_step=on_step)
    return agreement(data.chosen, scores, reader.thresholds, data.labels)


def read_all(
    reader: Reader, passages: Sequence[Passage], *, on_step: OnStep | None = None, stage: str = "evaluating"
) -> NDArray[np.float64]:
    """Scores of shape (len(passages), labels), a few hundred passages at a time."""
    parts = [np.zeros((0, len(reader.labels)))]
    for start in range(0, len(passages), READ_ROWS):
        if on_step is not None:
            on_step(stage, start, len(passages))
        parts.append(reader.read(passages[start : start + READ_ROWS]))
    if on_step is not None:
        on_step(stage, len(passages), len(passages))
    return np.concatenate(parts)


def refuse_one_class(data: LabelledTexts) -> None:
    """Refuse data on which nothing can be measured: no label has both rows with it and rows without."""
    positives = data.chosen.sum(axis=0)
    if not ((positives > 0) & (positives < len(data))).any():
        raise InputError(
            f"Nothing can be measured on {data.name}: each label has only rows with it, or only rows without.",
            where=data.name,
            next_step="Name data with at least two labels.",
        )
