# SPDX-License-Identifier: Apache-2.0
"""How far a reader's scores agree with the labels that people chose, with confidence intervals.

Arrays are those of label_metrics.py: `targets` of shape (rows, labels), bool, and `scores` likewise, float. Where a
figure is undefined the result is None, and `Agreement` names the labels that its means leave out: a mean over other
labels than its reader expects is worse than none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from validators.errors import InputError
from validators.label_metrics import (
    Flags,
    Floats,
    average_precision,
    brier,
    calibration_error,
    check_probabilities,
    f1,
    found_labels,
    mean_of_defined,
    roc_auc,
    top_k_accuracy,
    weighted_auc,
    weighted_f1,
)

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK_CELLS = 1_000_000  # rows x resamples weighed at once: the fastest of 0.1 to 4 million at 5427 rows of 28 labels


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its confidence interval, of 95 % unless said otherwise."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LabelAgreement:
    """Agreement on one label; None where a figure is undefined (no row chosen, or all)."""

    positives: int
    threshold: float
    auc: float | None
    f1: float | None
    average_precision: float | None
    calibration_error: float | None
    brier: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of one reader with people on one data set.

    `macro_` figures are means over the labels for which they are defined: AUC leaves out `one_class`, F1 and average
    precision leave out `without_positives`. False alarms for those labels still count in `micro_f1`. The accuracies
    are over the rows for which somebody chose a label at all, `rows_with_labels` of them.
    """

    rows: int
    rows_with_labels: int
    one_class: tuple[str, ...]
    """Labels chosen for no row or for all of them."""
    without_positives: tuple[str, ...]
    """Labels chosen for no row."""
    macro_auc: Interval | None
    macro_f1: Interval | None
    micro_f1: Interval | None
    macro_average_precision: float | None
    top_1_accuracy: float | None
    top_3_accuracy: float | None
    calibration_error: float | None
    """Pooled over all decisions, each row and label being one."""
    macro_calibration_error: float | None
    brier: float | None
    per_label: Mapping[str, LabelAgreement]

    def as_json(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, None where undefined."""
        plain = asdict(self)
        return plain | {name: list(plain[name]) for name in ("one_class", "without_positives")}


def agreement(
    targets: Flags,
    scores: Floats,
    thresholds: Floats,
    labels: Sequence[str],
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Measure a reader's scores (probabilities from 0 to 1) against people's choices.

    `thresholds` has shape (labels,). Rows are put into an order of their own first, so theirs changes nothing. Raises
    ModelError where a score is not a probability, ValueError where shapes or labels do not fit.
    """
    check_probabilities(targets, scores)
    if len(labels) != targets.shape[1] or len(set(labels)) != len(labels):
        raise ValueError(f"{targets.shape[1]} different labels are needed, not {list(labels)}")
    order = _canonical_order(targets, scores)
    targets, scores = targets[order], scores[order]
    intervals = bootstrap_intervals(targets, scores, thresholds, n_resamples=n_resamples, seed=seed)
    columns = {
        "auc": roc_auc(targets, scores),
        "f1": f1(targets, scores, thresholds),
        "average_precision": average_precision(targets, scores),
        "calibration_error": calibration_error(targets, scores),
        "brier": brier(targets, scores),
    }
    positives = targets.sum(axis=0)
    return Agreement(
        rows=len(targets),
        rows_with_labels=int(targets.any(axis=1).sum()),
        one_class=tuple(label for label, n in zip(labels, positives, strict=True) if n in {0, len(targets)}),
        without_positives=tuple(label for label, n in zip(labels, positives, strict=True) if n == 0),
        **intervals,
        macro_average_precision=_defined(mean_of_defined(columns["average_precision"])),
        top_1_accuracy=top_k_accuracy(targets, scores, 1),
        top_3_accuracy=top_k_accuracy(targets, scores, 3),
        calibration_error=_defined(calibration_error(targets.reshape(-1, 1), scores.reshape(-1, 1))[0]),
        macro_calibration_error=_defined(mean_of_defined(columns["calibration_error"])),
        brier=_defined(mean_of_defined(columns["brier"])),
        per_label={
            label: LabelAgreement(
                positives=int(positives[column]),
                threshold=float(thresholds[column]),
                **{name: _defined(values[column]) for name, values in columns.items()},
            )
            for column, label in enumerate(labels)
        },
    )


def bootstrap_intervals(
    targets: Flags,
    scores: Floats,
    thresholds: Floats,
    *,
    n_resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Percentile bootstrap over rows (Efron and Tibshirani 1993, chapter 13) of macro_auc, macro_f1 and micro_f1.

    All three come from the same resamples. A label that a resample leaves with one class (for F1: without a chosen
    row) is left out of the mean of that resample. Rows count as independent; where many come from one source the
    intervals are too narrow. None where the figure is undefined.
    """
    found = found_labels(targets, scores, thresholds)
    if n_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"n_resamples {n_resamples} must be at least 1, confidence {confidence} between 0 and 1")
    order = _canonical_order(targets, scores)
    targets, scores, found = targets[order], scores[order], found[order]

    def figures(weights: Floats) -> Floats:
        per_label, micro = weighted_f1(targets, found, weights)
        return np.stack([mean_of_defined(weighted_auc(targets, scores, weights)), mean_of_defined(per_label), micro])

    estimates = figures(np.ones((len(targets), 1)))[:, 0]
    chunks = [figures(weights) for weights in resamples(len(targets), n_resamples, seed)]
    replicates = np.concatenate(chunks, axis=1) if chunks else np.empty((3, 0))
    tail = (1 - confidence) / 2
    intervals: dict[str, Interval | None] = {}
    for name, estimate, values in zip(("macro_auc", "macro_f1", "micro_f1"), estimates, replicates, strict=True):
        defined = values[~np.isnan(values)]
        if np.isnan(estimate) or not len(defined):
            intervals[name] = None
        else:
            low, high = np.quantile(defined, [tail, 1 - tail])
            intervals[name] = Interval(float(estimate), float(low), float(high))
    return intervals


def wilson(successes: int, rows: int, *, confidence: float = CONFIDENCE) -> Interval | None:
    """A rate and its score interval (Wilson 1927), which stays within 0 and 1; None without rows."""
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    if not 0 <= successes <= rows:
        raise ValueError(f"{successes} of {rows} is no rate")
    if not rows:
        return None
    bounds = binomtest(successes, rows).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(successes / rows, float(bounds.low), float(bounds.high))


def rate_of(successes: int, rows: int) -> dict[str, float] | None:
    """How many of how many, the rate and its 95 % Wilson interval, as plain JSON; None without rows."""
    interval = wilson(successes, rows)
    if interval is None:
        return None
    bounds = {"rate": interval.estimate, "low": interval.low, "high": interval.high}
    return {"count": successes, "rows": rows} | bounds


def confusion_table(intended: Sequence[str], perceived: Sequence[str], labels: Sequence[str]) -> pd.DataFrame:
    """Count the rows by intended (index) and perceived label (columns), both in the order of `labels`.

    Raises InputError where a label is not among them.
    """
    if unknown := sorted({*intended, *perceived} - set(labels)):
        raise InputError(f"labels outside the taxonomy: {', '.join(map(repr, unknown))}", where="confusion of labels")
    position = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one, other in zip(intended, perceived, strict=True):
        counts[position[one], position[other]] += 1
    return pd.DataFrame(
        counts, index=pd.Index(labels, name="intended"), columns=pd.Index(labels, name="perceived"), dtype="int64"
    )


def _canonical_order(targets: Flags, scores: Floats) -> NDArray[np.int64]:
    """The rows in an order that depends on their values alone."""
    order: NDArray[np.int64] = np.lexsort(np.concatenate([targets, scores], axis=1).T)
    return order


def resamples(rows: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row occurs in each resample, as blocks of shape (rows, some of the resamples)."""
    if not rows:
        return
    random = np.random.default_rng(seed)
    size = max(1, CHUNK_CELLS // rows)
    for start in range(0, n_resamples, size):
        count = min(size, n_resamples - start)
        drawn = random.integers(rows, size=(count, rows))
        cells = drawn * count + np.arange(count)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _defined(value: float | Floats) -> float | None:
    """None for NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)
