# SPDX-License-Identifier: Apache-2.0
"""Trains the `head` reader; what it is made of is told in head.py."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from generators.readers.features import NgramFeatures
from generators.readers.head import Floats, HeadReader, HeadState, OnStep, combine
from generators.sampling import spread_over_folds
from generators.training import steady_thresholds
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.readings import SCORE_DIGITS
from validators.roles import Encoder

ENCODED_ROWS = 1024  # between two words of progress, a few seconds on one core

Model = tuple[Floats, Floats]
"""Weights of shape (columns, labels) and intercepts of shape (labels,)."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How to train. The numbers were chosen on GoEmotions dev and are flat around these values."""

    folds: int = 5
    seed: int = 0
    threads: int = 1
    """Labels trained side by side; the result is the same."""
    penalty: float = 1.0
    """C of the logistic regression on n-grams; at 5 macro AUC falls from 0.910 to 0.901."""
    ridge: float = 10.0
    """Weight of the squared coefficients in the regression on embeddings; 1 to 30 lie within 0.004 of AUC."""
    shrinkage: float = 30.0
    """Weight of the squared distance between a label's slopes and those of all labels; 0 to 100 lie within 0.001."""


def train_head(
    data: LabelledTexts, encoder: Encoder, settings: HeadSettings | None = None, *, on_step: OnStep | None = None
) -> HeadReader:
    """Train on all rows; calibrate and choose thresholds on out-of-fold outputs.

    Raises InputError where a label has fewer positive or negative rows than there are folds: nothing could be told of
    it.
    """
    settings = settings or HeadSettings()
    tell = on_step or (lambda stage, done, total: None)
    _refuse_rare(data, settings.folds)
    embeddings = _embed(data.texts, encoder, tell)
    features = NgramFeatures.learn(data.texts)
    ngrams = features.of(data.texts)
    fold = spread_over_folds(data.targets, settings.folds, settings.seed)

    held_out_ngrams, held_out_embedding = np.zeros(data.targets.shape), np.zeros(data.targets.shape)
    steps = settings.folds + 1
    for number in range(settings.folds):
        tell("training", number, steps)
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        weights, intercepts = _fit_ngrams(ngrams[inside], data.targets[inside], settings)
        held_out_ngrams[outside] = ngrams[outside] @ weights + intercepts
        weights, intercepts = _fit_ridge(embeddings[inside], data.targets[inside], settings.ridge)
        held_out_embedding[outside] = embeddings[outside] @ weights + intercepts
    tell("training", settings.folds, steps)
    ngram_weights, ngram_intercepts = _fit_ngrams(ngrams, data.targets, settings)
    embedding_weights, embedding_intercepts = _fit_ridge(embeddings, data.targets, settings.ridge)
    tell("training", steps, steps)

    mean, spread = held_out_embedding.mean(axis=0), np.maximum(held_out_embedding.std(axis=0), 1e-9)
    held_out_embedding = (held_out_embedding - mean) / spread
    combination = _fit_combination(held_out_ngrams, held_out_embedding, data.targets, settings.shrinkage)
    held_out = np.round(expit(combine(held_out_ngrams, held_out_embedding, combination)), SCORE_DIGITS)
    state = HeadState(
        features=features,
        ngram_weights=ngram_weights.astype(np.float32).astype(np.float64),
        ngram_intercepts=ngram_intercepts,
        embedding_weights=embedding_weights / spread,
        embedding_intercepts=(embedding_intercepts - mean) / spread,
        combination=combination,
        thresholds=steady_thresholds(data.chosen, held_out),
    )
    return HeadReader(f"head-{data.name}", data.labels, encoder, state)


def _refuse_rare(data: LabelledTexts, folds: int) -> None:
    positives = data.chosen.sum(axis=0)
    rare = [
        f"{label} ({n} of {len(data)})"
        for label, n in zip(data.labels, positives, strict=True)
        if not folds <= n <= len(data) - folds
    ]
    if rare:
        raise InputError(
            f"too few rows with and without these labels to train a reader: {', '.join(rare)}",
            where=data.name,
            next_step=f"Add rows until each label has {folds}, or use a taxonomy without them.",
        )


def _embed(texts: Sequence[str], encoder: Encoder, tell: OnStep) -> Floats:
    # Texts of like length together, as an encoder pads a batch to its longest
    order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
    parts = []
    for start in range(0, len(order), ENCODED_ROWS):
        tell("encoding", start, len(order))
        parts.append(encoder.encode([texts[row] for row in order[start : start + ENCODED_ROWS]]))
    tell("encoding", len(order), len(order))
    embedded = np.concatenate(parts)
    rows = np.empty(embedded.shape, dtype=np.float64)
    rows[order] = embedded
    return rows


def _fit_ngrams(ngrams: csr_matrix, targets: Floats, settings: HeadSettings) -> Model:
    """One logistic regression a label: liblinear took 32 s for GoEmotions, L-BFGS over all labels at once 209."""

    def fit(label: int) -> tuple[Floats, float]:
        return _fit_one(ngrams, targets[:, label], settings.penalty)

    with ThreadPoolExecutor(settings.threads) as pool:  # liblinear frees the interpreter while it works
        models = list(pool.map(fit, range(targets.shape[1])))
    return np.stack([weights for weights, _ in models], axis=1), np.array([intercept for _, intercept in models])


def _fit_one(ngrams: csr_matrix, target: Floats, penalty: float) -> tuple[Floats, float]:
    """A row with target t between 0 and 1 counts t as a positive row and 1 - t as a negative one."""
    positive, negative = np.flatnonzero(target > 0), np.flatnonzero(target < 1)
    if not len(positive) or not len(negative):  # all of a rare label's rows fell into the fold that is held out
        share = (target.sum() + 0.5) / (len(target) + 1)
        return np.zeros(ngrams.shape[1]), float(np.log(share / (1 - share)))
    rows = np.concatenate([positive, negative])
    classes = np.repeat([1, 0], [len(positive), len(negative)])
    weights = np.concatenate([target[positive], 1 - target[negative]])
    model = LogisticRegression(C=penalty, solver="liblinear", tol=1e-2, max_iter=1000)
    model.fit(ngrams[rows], classes, sample_weight=weights)
    return model.coef_[0], float(model.intercept_[0])


def _fit_ridge(embeddings: Floats, targets: Floats, penalty: float) -> Model:
    """Least squares with an L2 penalty for all labels at once; the intercepts are not penalised."""
    center, share = embeddings.mean(axis=0), targets.mean(axis=0)
    centred = embeddings - center
    gram = centred.T @ centred + penalty * np.eye(centred.shape[1])
    weights: Floats = np.linalg.solve(gram, centred.T @ (targets - share))
    return weights, share - center @ weights


def _fit_combination(by_ngrams: Floats, by_embedding: Floats, targets: Floats, shrinkage: float) -> Floats:
    """c, u and v of each label, shape (labels, 3): first u and v for all labels together, then each drawn to them.

    Targets are those of Platt (1999, section 2.2): a little inside 0 and 1, by the number of rows. Where outputs part
    the rows without error, u and v would grow without end on 0 and 1, and all scores with them.
    """
    n_labels = targets.shape[1]
    positives = targets.sum(axis=0)
    highest, lowest = (positives + 1) / (positives + 2), 1 / (len(targets) - positives + 2)
    targets = lowest + (highest - lowest) * targets
    share = np.clip(targets.mean(axis=0), 1e-6, 1 - 1e-6)
    log_odds = np.log(share / (1 - share))

    def pooled(point: Floats) -> tuple[float, Floats]:
        logits = combine(by_ngrams, by_embedding, _rows(point[2:], point[:2]))
        error = expit(logits) - targets
        slope = np.concatenate([[(error * by_ngrams).sum(), (error * by_embedding).sum()], error.sum(axis=0)])
        return _log_loss(logits, targets) / len(targets), slope / len(targets)

    start = np.concatenate([[0.7, 0.3], log_odds])
    common = minimize(pooled, start, jac=True, method="L-BFGS-B").x
    combination = _rows(common[2:], common[:2])
    for label in range(n_labels):
        inputs = np.stack([np.ones(len(targets)), by_ngrams[:, label], by_embedding[:, label]], axis=1)
        target, prior = targets[:, label], combination[label].copy()

        def own(
            point: Floats, inputs: Floats = inputs, target: Floats = target, prior: Floats = prior
        ) -> tuple[float, Floats]:
            logits = inputs @ point
            away = (point - prior) * [0, 1, 1]
            value = _log_loss(logits, target) + shrinkage / 2 * float(away @ away)
            return value, inputs.T @ (expit(logits) - target) + shrinkage * away

        combination[label] = minimize(own, prior, jac=True, method="L-BFGS-B").x
    return combination


def _rows(constants: Floats, slopes: Floats) -> NDArray[np.float64]:
    return np.column_stack([constants, np.tile(slopes, (len(constants), 1))])


def _log_loss(logits: Floats, targets: Floats) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())
