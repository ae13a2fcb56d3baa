# SPDX-License-Identifier: Apache-2.0
"""How well answers to test texts fit the labels that people chose, for comparing students trained on different data.

Rules turn scores into labels: `thresholds` (a label is found where its score reaches its threshold), `expected_f1` (the
rows whose scores promise the highest F1; see `expecting_f1`), `top_1` (the label of the highest score alone) and
`prior_adjusted` (top_1 after `adjust_priors`, since a synthetic dataset holds as many
rows of a rare label as of a common one and real data does not).

All students answer the same test rows and are measured on the same resamples of them, so the replicates of two of them
can be subtracted: the paired bootstrap of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validators.agreement import CONFIDENCE, RESAMPLES, Interval, resamples
from validators.label_metrics import expecting_f1, found_labels, mean_of_defined, weighted_auc, weighted_f1

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

RULES = ("thresholds", "expected_f1", "top_1", "prior_adjusted")
ROUNDS = 200
CLOSE = 1e-6
TINY = 1e-300  # a row whose every label has lost its share stays 0 instead of NaN


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Scores of shape (rows, labels), and which labels each rule finds: rule -> flags of the same shape."""

    scores: Floats
    found: Mapping[str, Flags]


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Figures of one label; None where one class alone occurs (AUC) or no row has it (F1, by thresholds)."""

    positives: int
    auc: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Figures by name, `macro_auc` and for each rule `macro_f1.<rule>` and `micro_f1.<rule>`, and their replicates."""

    estimates: Mapping[str, float]
    replicates: Mapping[str, Floats]
    per_label: Mapping[str, LabelFigures]

    def intervals(self) -> dict[str, Interval | None]:
        """Percentile bootstrap of each figure; None where it is undefined."""
        return {name: _interval(value, self.replicates[name]) for name, value in self.estimates.items()}

    def minus(self, other: "Measured") -> dict[str, Interval | None]:
        """The difference of each figure that both have, by the paired bootstrap."""
        return {
            name: _interval(value - other.estimates[name], self.replicates[name] - other.replicates[name])
            for name, value in self.estimates.items()
            if name in other.estimates
        }


def answer(
    scores: Floats, thresholds: Floats, *, posteriors: Floats | None = None, shares: Floats | None = None
) -> Answers:
    """Apply the rules to scores of shape (rows, labels).

    `posteriors`, of the same shape, are the calibrated ones, and `shares` (labels,) the priors that they hold; without
    them the rule `prior_adjusted` is left out.
    """
    found = {
        "thresholds": found_labels(np.zeros(scores.shape, dtype=np.bool_), scores, thresholds),
        "expected_f1": expecting_f1(scores),
        "top_1": highest(scores),
    }
    if posteriors is not None and shares is not None:
        found["prior_adjusted"] = highest(adjust_priors(posteriors, shares))
    return Answers(scores, found)


def highest(scores: Floats) -> Flags:
    """Flag the highest score of each row, the first of equals."""
    flags: Flags = np.zeros(scores.shape, dtype=np.bool_)
    flags[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return flags


def adjust_priors(posteriors: Floats, shares: Floats) -> Floats:
    """Posteriors for the shares of labels in the rows at hand, estimated from these rows without their labels.

    Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori probabilities", by
    their EM algorithm, which is for one label a row and for calibrated posteriors, of shape (rows, labels), each row
    summing to 1. `shares` (labels,) are the priors in them; a label whose share is 0 keeps 0.
    """
    ratio_of = np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)
    new, adjusted = shares, posteriors
    for _ in range(ROUNDS):
        adjusted = posteriors * (new * ratio_of)
        adjusted = adjusted / np.maximum(adjusted.sum(axis=1, keepdims=True), TINY)
        before, new = new, adjusted.mean(axis=0)
        if np.abs(new - before).sum() < CLOSE:
            break
    return adjusted


def measure(
    targets: Flags, runs: Sequence[Answers], labels: Sequence[str], *, n_resamples: int = RESAMPLES, seed: int = 0
) -> Measured:
    """Measure answers against what people chose, `targets` of shape (rows, labels); of several runs take the mean.

    AUC and F1 by label are those of label_metrics.py: macro AUC leaves out labels of one class, macro F1 labels that no
    row has, both in each resample too.
    """
    figures: list[dict[str, Floats]] = []
    per_label: list[tuple[Floats, Floats]] = []
    weights_of_all = np.ones((len(targets), 1))
    for run in runs:
        blocks = [_figures(targets, run, weights)[0] for weights in resamples(len(targets), n_resamples, seed)]
        whole, auc, f1 = _figures(targets, run, weights_of_all)
        figures.append({name: np.concatenate([whole[name], *(block[name] for block in blocks)]) for name in whole})
        per_label.append((auc, f1))
    means = {name: np.mean([run[name] for run in figures], axis=0) for name in figures[0]}
    auc, f1 = (np.mean([pair[place] for pair in per_label], axis=0) for place in (0, 1))
    return Measured(
        {name: float(values[0]) for name, values in means.items()},
        {name: values[1:] for name, values in means.items()},
        {
            label: LabelFigures(int(targets[:, column].sum()), _defined(auc[column]), _defined(f1[column]))
            for column, label in enumerate(labels)
        },
    )


def _figures(targets: Flags, answers: Answers, weights: Floats) -> tuple[dict[str, Floats], Floats, Floats]:
    """Figures of shape (resamples,) for weights of shape (rows, resamples); AUC and F1 by label of the first."""
    areas = weighted_auc(targets, answers.scores, weights)
    figures = {"macro_auc": mean_of_defined(areas)}
    first = np.full(targets.shape[1], np.nan)
    for rule, found in answers.found.items():
        f1, micro = weighted_f1(targets, found, weights)
        figures |= {f"macro_f1.{rule}": mean_of_defined(f1), f"micro_f1.{rule}": micro}
        if rule == "thresholds":
            first = f1[0]
    return figures, areas[0], first


def _interval(estimate: float, replicates: Floats) -> Interval | None:
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(estimate) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(estimate), float(low), float(high))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
