# SPDX-License-Identifier: Apache-2.0
"""Students: small classifiers trained on labelled texts, whose errors on real texts tell what a dataset teaches.

A student takes texts and targets from 0 to 1 (hard: 0 and 1; soft: the scores of a reader) and gives a predictor, which
takes texts and gives one score a label, the probability that the label holds. All students share this interface, so
that they can be trained on one dataset after another and compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

from generators.backends.finetune import FineTuned, FinetuneSettings, OnStep, finetune
from generators.sampling import spread_over_folds, stratified_sample
from validators.errors import ModelError
from validators.roles import Encoder

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Inverse strengths of the L2 penalty that are tried; `C` of scikit-learn's LogisticRegression."""
CROSS_VALIDATED_ROWS = 2000  # enough to choose one number; the search would take minutes on all of GoEmotions
FOLDS = 3
MAX_STEPS = 1000
SLOPE = 1e-5  # where L-BFGS stops; at 4000 rows of GoEmotions scores then lie within 1e-3 of those at 1e-6
NO_MASS = 1e-9  # a column of targets that sums to less has no positives

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """A trained student."""

    @property
    def without_positives(self) -> tuple[int, ...]:
        """Columns that no training text has; their score is 0 for every text."""
        ...

    @property
    def note(self) -> str:
        """What was chosen in training, for the report."""
        ...

    @property
    def student(self) -> "Student":
        """The student with all that was chosen in training settled, to be trained alike on parts of the rows."""
        ...

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Scores of shape (len(texts), labels), each from 0 to 1."""
        ...


class Student(Protocol):
    """A way to learn labels from texts."""

    @property
    def name(self) -> str:
        """What the student is called in reports."""
        ...

    def fit(self, texts: Sequence[str], targets: Floats) -> Predictor:
        """Learn from texts and `targets` of shape (len(texts), labels), each from 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class LinearStudent:
    """Logistic regression for each label on the vectors of a frozen encoder.

    The loss is the cross-entropy between target and score, summed over the rows, plus |w|^2 / 2C for each label, with
    no penalty on the intercept: scikit-learn's LogisticRegression where targets are 0 and 1. L-BFGS minimises it here
    for all labels at once, since LogisticRegression takes soft targets only as doubled rows and fits the labels one
    after the other (28 fits of 87k rows for GoEmotions).

    `penalty` is C; None chooses one for all labels by cross-validation on the log loss, in folds that spread each
    label evenly, on at most CROSS_VALIDATED_ROWS rows. Classes are not weighted: scores stay probabilities.
    """

    encoder: Encoder
    penalty: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What the student is called in reports."""
        return "linear"

    def fit(self, texts: Sequence[str], targets: Floats) -> "LinearPredictor":
        """Choose the penalty if none is given, and fit on all rows."""
        check_targets(texts, targets)
        vectors = self.encoder.encode(texts).astype(np.float64)
        learnable = np.flatnonzero(targets.sum(axis=0) > NO_MASS)
        columns = targets[:, learnable]
        penalty = self.penalty if self.penalty is not None else _choose_penalty(vectors, columns, self.seed)
        weights = np.zeros((vectors.shape[1] + 1, targets.shape[1]))
        weights[:, learnable] = fit_logistic(vectors, columns, penalty)
        return LinearPredictor(replace(self, penalty=penalty), weights, learnable, f"C={penalty:g}")


@dataclass(frozen=True, slots=True, eq=False)
class LinearPredictor:
    """`weights` has shape (dimensions + 1, labels), the last row being the intercepts."""

    student: LinearStudent
    weights: Floats
    learnable: NDArray[np.int64]
    note: str

    @property
    def without_positives(self) -> tuple[int, ...]:
        """Columns that no training text has."""
        return tuple(sorted(set(range(self.weights.shape[1])) - set(self.learnable.tolist())))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Scores of shape (len(texts), labels)."""
        scores = np.zeros((len(texts), self.weights.shape[1]))
        if texts:
            vectors = self.student.encoder.encode(texts).astype(np.float64)
            scores[:, self.learnable] = logistic_scores(vectors, self.weights[:, self.learnable])
        return scores


@dataclass(frozen=True, slots=True)
class FinetunedStudent:
    """An encoder trained end to end, with a linear layer on its mean vector; see `generators.backends.finetune`."""

    folder: PurePath
    settings: FinetuneSettings
    on_step: OnStep | None = None

    @property
    def name(self) -> str:
        """What the student is called in reports."""
        return "finetuned"

    def fit(self, texts: Sequence[str], targets: Floats) -> "FinetunedPredictor":
        """Train on all rows."""
        check_targets(texts, targets)
        learnable = np.flatnonzero(targets.sum(axis=0) > NO_MASS)
        model = finetune(self.folder, texts, targets[:, learnable], self.settings, self.on_step)
        return FinetunedPredictor(self, model, learnable, targets.shape[1], f"{model.steps} steps")


@dataclass(frozen=True, slots=True, eq=False)
class FinetunedPredictor:
    """A fine-tuned encoder; labels without positives were left out of its training."""

    student: FinetunedStudent
    model: FineTuned
    learnable: NDArray[np.int64]
    n_labels: int
    note: str

    @property
    def without_positives(self) -> tuple[int, ...]:
        """Columns that no training text has."""
        return tuple(sorted(set(range(self.n_labels)) - set(self.learnable.tolist())))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Scores of shape (len(texts), labels)."""
        scores = np.zeros((len(texts), self.n_labels))
        scores[:, self.learnable] = self.model.scores(texts)
        return scores


def fit_logistic(vectors: Floats, targets: Floats, penalty: float) -> Floats:
    """Weights of shape (dimensions + 1, labels), intercepts last, for vectors (rows, dimensions)."""
    n_rows, dimensions = vectors.shape
    n_labels = targets.shape[1]
    rate = np.clip(targets.mean(axis=0), 1e-6, 1 - 1e-6)
    start = np.zeros((dimensions + 1, n_labels))
    start[-1] = np.log(rate / (1 - rate))  # the solution without any vector, a few steps nearer than zero

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(dimensions + 1, n_labels)
        logits = vectors @ weights[:-1] + weights[-1]
        # divided by the rows, or the step sizes and the tolerance would depend on how many there are
        value = (np.logaddexp(0, logits) - targets * logits).sum() / n_rows
        value += (weights[:-1] ** 2).sum() / (2 * penalty * n_rows)
        error = (expit(logits) - targets) / n_rows
        slope = np.empty_like(weights)
        slope[:-1] = vectors.T @ error + weights[:-1] / (penalty * n_rows)
        slope[-1] = error.sum(axis=0)
        return float(value), slope.ravel()

    options = {"maxiter": MAX_STEPS, "gtol": SLOPE, "ftol": 1e-12}
    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.x).all():
        raise ModelError(
            f"the linear head did not converge: {found.message}",
            where=f"{n_rows} rows, {dimensions} dimensions, {n_labels} labels, C={penalty:g}",
            next_step="Check that the encoder's vectors are finite and of length 1.",
        )
    weights: Floats = np.asarray(found.x, dtype=np.float64).reshape(dimensions + 1, n_labels)
    return weights


def logistic_scores(vectors: Floats, weights: Floats) -> Floats:
    """Scores of shape (rows, labels)."""
    scores: Floats = expit(vectors @ weights[:-1] + weights[-1])
    return scores


def check_targets(texts: Sequence[str], targets: Floats) -> None:
    """Refuse targets that a student cannot learn from."""
    if targets.ndim != 2 or len(targets) != len(texts):
        raise ValueError(f"targets of shape {targets.shape} for {len(texts)} texts")
    if len(texts) < 2:
        raise ValueError(f"a student needs at least two texts, not {len(texts)}")
    if not np.isfinite(targets).all() or targets.min() < 0 or targets.max() > 1:
        raise ValueError("targets must lie between 0 and 1")
    if targets.sum() <= NO_MASS:
        raise ValueError("no text has any label")


def _choose_penalty(vectors: Floats, targets: Floats, seed: int) -> float:
    """Pick the C with the least log loss on held-out rows; the stronger penalty among equals."""
    rows = stratified_sample(targets, CROSS_VALIDATED_ROWS, seed)
    vectors, targets = vectors[rows], targets[rows]
    fold = spread_over_folds(targets, FOLDS, seed)
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for number in range(int(fold.max()) + 1):
            inside, outside = fold != number, fold == number
            weights = fit_logistic(vectors[inside], targets[inside], penalty)
            logits = vectors[outside] @ weights[:-1] + weights[-1]
            total += float((np.logaddexp(0, logits) - targets[outside] * logits).sum())
        losses.append(round(total / len(rows), 6))
    return PENALTIES[int(np.argmin(losses))]
