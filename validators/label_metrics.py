# SPDX-License-Identifier: Apache-2.0
"""Measures of scores for labels against the labels that people chose.

Everywhere `targets` has shape (rows, labels), bool; `scores` the same shape, float; a label counts as found where its
score is at least its threshold. What is returned for each label has shape (labels,), and NaN where it is undefined.
Raises ValueError where shapes or types do not fit, ModelError where a score is not finite or, for measures of
probabilities, not from 0 to 1.

AUC and F1 are computed for many weightings of the rows at once rather than by scikit-learn, because the bootstrap of
agreement.py needs them a thousand times for each label: 2 s for the 5427 rows and 28 labels of the GoEmotions test
set, against minutes. The tests hold both to the same values.
"""

import numpy as np
from numpy.typing import NDArray

from validators.errors import ModelError

CALIBRATION_BINS = 15  # as in Guo et al. 2017, Table 1

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def roc_auc(targets: Flags, scores: Floats) -> Floats:
    """Area under the ROC curve of each label, shape (labels,); NaN where one class alone occurs.

    It is the share of pairs of a chosen and another row in which the chosen one scores higher, ties counting half
    (Hanley and McNeil 1982).
    """
    _check(targets, scores)
    return weighted_auc(targets, scores, np.ones((len(targets), 1))).ravel()


def f1(targets: Flags, scores: Floats, thresholds: Floats) -> Floats:
    """F1 of each label at its threshold, shape (labels,); NaN where no row was chosen, 0 where none was found."""
    found = found_labels(targets, scores, thresholds)
    return weighted_f1(targets, found, np.ones((len(targets), 1)))[0].ravel()


def average_precision(targets: Flags, scores: Floats) -> Floats:
    """Average precision of each label (precision at each new recall, not interpolated); NaN where no row was chosen."""
    from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

    _check(targets, scores)
    columns = zip(targets.T, scores.T, strict=True)
    precisions = np.array([average_precision_score(*column) if column[0].any() else np.nan for column in columns])
    np.minimum(precisions, 1.0, out=precisions)  # a sum of shares: rounding can carry it a hair above one
    return precisions


def top_k_accuracy(targets: Flags, scores: Floats, k: int) -> float | None:
    """Share of the rows with a chosen label for which one is among the `k` highest scores; None without such rows.

    Among equal scores the label that comes first counts as higher.
    """
    _check(targets, scores)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    labelled = targets.any(axis=1)
    highest = np.argsort(-scores[labelled], axis=1, kind="stable")[:, :k]
    hits: Flags = np.take_along_axis(targets[labelled], highest, axis=1).max(axis=1)
    return float(hits.mean()) if len(hits) else None


def calibration_error(targets: Flags, scores: Floats, *, bins: int = CALIBRATION_BINS) -> Floats:
    """Expected calibration error of each label, shape (labels,); NaN without rows.

    The mean over bins, weighted by their rows, of |mean score - share chosen| (Naeini et al. 2015; Guo et al. 2017,
    section 2). The bins hold equally many rows (Nixon et al. 2019) instead of being equally wide: most scores of a
    rare label would lie in the first of those. Rows of equal score share a bin, so that their order changes nothing.
    Few rows overestimate the error: with no more rows than bins it is the mean |score - target|.
    """
    check_probabilities(targets, scores)
    rows, labels = targets.shape
    errors = np.full(labels, np.nan)
    for column in range(labels if rows else 0):
        ranks = np.searchsorted(np.sort(scores[:, column]), scores[:, column], side="left")
        gaps = np.bincount(ranks * bins // rows, weights=scores[:, column] - targets[:, column])
        errors[column] = np.abs(gaps).sum() / rows
    return errors


def brier(targets: Flags, scores: Floats) -> Floats:
    """Brier score (Brier 1950) of each label, the mean squared distance of score and target; NaN without rows."""
    check_probabilities(targets, scores)
    return np.square(scores - targets).mean(axis=0) if len(targets) else np.full(targets.shape[1], np.nan)


def best_thresholds(targets: Flags | Floats, scores: Floats) -> Floats:
    """The threshold of each label with the highest F1, shape (labels,), each between 0 and 1 exclusive.

    Targets that are probabilities give the highest expected F1, with expectations in numerator and denominator.

    The threshold lies half-way between two neighbouring scores (or 0); of several with the same F1 the highest, since
    it raises the fewest false alarms. A label without a chosen row of a score above 0 gets the threshold half-way
    between its highest score and 1: no score that was seen has stood for the label. A label with a handful of chosen
    rows gets a threshold that follows chance, so measure on other rows than these.
    """
    check_probabilities(targets > 0, scores)
    columns = zip(targets.T.astype(np.float64), scores.T, strict=True)
    return np.array([_best_threshold(chosen, label_scores) for chosen, label_scores in columns])


def expecting_f1(scores: Floats) -> Flags:
    """The rows in which each label is found if its expected F1 is to be highest, by scores taken as probabilities.

    Needs no labels: of each label, the highest scores are found, as many as make 2 * sum / (count + sum over all rows)
    largest (Jansche 2007, "A Maximum Expected Utility Framework for Binary Sequence Labeling"; the ratio of
    expectations, as Ye et al. 2012 show to be near the expectation for many rows). Scores that are no probabilities
    lead it astray. A label whose every score is 0 is never found.
    """
    found: Flags = np.zeros(scores.shape, dtype=np.bool_)
    for column, label_scores in enumerate(scores.T):
        order = np.argsort(-label_scores, kind="stable")
        hits = np.cumsum(label_scores[order])
        if len(hits) and hits[-1] > 0:
            quality = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
            found[order[: int(quality.argmax()) + 1], column] = True
    return found


def weighted_auc(targets: Flags, scores: Floats, weights: Floats) -> Floats:
    """AUC of weighted rows, shape (resamples, labels), for whole `weights` of shape (rows, resamples)."""
    areas = np.full((weights.shape[1], targets.shape[1]), np.nan)
    for column in range(targets.shape[1]):
        chosen = targets[:, column]
        others = np.flatnonzero(~chosen)
        others = others[np.argsort(scores[others, column])]
        lower = np.zeros((len(others) + 1, weights.shape[1]))  # weight of the first so many of them
        np.cumsum(weights[others], axis=0, out=lower[1:])
        sides = [np.searchsorted(scores[others, column], scores[chosen, column], side=s) for s in ("left", "right")]
        beaten = np.einsum("pr,pr->r", weights[chosen], lower[sides[0]] + lower[sides[1]]) / 2
        pairs = weights[chosen].sum(axis=0) * lower[-1]
        np.divide(beaten, pairs, out=areas[:, column], where=pairs > 0)
    return areas


def weighted_f1(targets: Flags, found: Flags, weights: Floats) -> tuple[Floats, Floats]:
    """F1 of weighted rows by label, shape (resamples, labels), and over all decisions, shape (resamples,)."""
    hits, n_found, n_chosen = (weights.T @ flags.astype(np.float64) for flags in (targets & found, found, targets))
    per_label = np.divide(2 * hits, n_found + n_chosen, out=np.full(hits.shape, np.nan), where=n_chosen > 0)
    decisions = n_found.sum(axis=1) + n_chosen.sum(axis=1)
    micro = np.divide(2 * hits.sum(axis=1), decisions, out=np.full(len(hits), np.nan), where=decisions > 0)
    return per_label, micro


def found_labels(targets: Flags, scores: Floats, thresholds: Floats) -> Flags:
    """Which labels count as found, shape (rows, labels), for `thresholds` of shape (labels,)."""
    _check(targets, scores)
    if thresholds.shape != targets.shape[1:] or not np.isfinite(thresholds).all():
        raise ValueError(f"{targets.shape[1]} finite thresholds are needed, not {thresholds}")
    return scores >= thresholds


def mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis without the NaN; NaN where there is nothing else."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=-1)
    sums = np.where(defined, values, 0.0).sum(axis=-1)
    means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means


def check_probabilities(targets: Flags, scores: Floats) -> None:
    """Refuse scores that are not probabilities."""
    _check(targets, scores)
    if scores.size and not 0 <= scores.min() <= scores.max() <= 1:
        raise ModelError(
            f"scores from {scores.min():g} to {scores.max():g} are no probabilities",
            where="agreement with people",
            next_step="use a reader whose scores lie from 0 to 1, or calibrate it",
        )


def _check(targets: Flags, scores: Floats) -> None:
    if targets.ndim != 2 or targets.dtype != np.bool_:
        raise ValueError(f"targets must be a table of bool, not {targets.dtype} of shape {targets.shape}")
    if scores.shape != targets.shape or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"scores of shape {scores.shape}, {scores.dtype}, for targets of shape {targets.shape}")
    if not targets.shape[1]:
        raise ValueError("at least one label is needed")
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        raise ModelError(
            f"{len(wrong)} of {scores.size} scores are not finite",
            where=f"agreement with people, first at row {wrong[0][0]}, label {wrong[0][1]}, both counted from 0",
            next_step="check the weights of the reader, and that no text is empty",
        )


def _best_threshold(chosen: Floats, scores: Floats) -> float:
    """The threshold of one label, from its column of targets and scores; the rule is at `best_thresholds`."""
    highest_allowed = np.nextafter(1.0, 0.0)
    if not (chosen[scores > 0] > 0).any():
        return float(min((scores.max(initial=0.0) + 1) / 2, highest_allowed))
    values = np.unique(scores)
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], values, side="left")
    n_found = len(scores) - first
    n_hits = np.append(np.cumsum(chosen[order][::-1])[::-1], 0.0)[first]
    quality = np.where(values > 0, 2 * n_hits / (n_found + chosen.sum()), -1.0)
    best = len(values) - 1 - int(np.argmax(quality[::-1]))
    below = values[best - 1] if best else 0.0
    middle = (below + values[best]) / 2
    # between two neighbouring floats there is none
    return float(min(middle if middle > below else values[best], highest_allowed))
