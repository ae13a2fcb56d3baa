# SPDX-License-Identifier: Apache-2.0
"""From one score a label, each a probability of its own, to calibrated posteriors of one label a row."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import log_softmax, softmax  # type: ignore[import-untyped]

FLOOR = 1e-6  # scores below are held to be that, so that their logarithm is finite
SPREAD = 1.0  # of the normal prior on biases, which holds them where a label has a handful of rows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Posteriors softmax(slope x log score + bias); `bias`, shape (labels,), is -inf for labels never chosen."""

    slope: float
    bias: Floats
    shares: Floats
    """Mean posterior over the rows it was fitted on, shape (labels,): the priors that the posteriors hold."""

    def posteriors(self, scores: Floats) -> Floats:
        """Posteriors of shape (rows, labels), each row summing to 1."""
        posteriors: Floats = softmax(self.slope * _logs(scores) + self.bias, axis=1)
        return posteriors


def fit_calibration(chosen: NDArray[np.bool_], scores: Floats) -> Calibration:
    """Fit slope and biases to scores that a student gave to rows it was not trained on, both of shape (rows, labels).

    Bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar 2020), without which the adjustment of priors
    by EM runs off to a few labels. A row of several labels counts for each in equal parts, one of none not at all.
    """
    labelled, known = chosen.any(axis=1), chosen.any(axis=0)
    # a label that no row has would have the same posterior everywhere, and EM would send to it what fits nowhere else
    truth = chosen[np.ix_(labelled, known)] / chosen[labelled].sum(axis=1, keepdims=True)
    logs = _logs(scores[np.ix_(labelled, known)])

    def loss(point: Floats) -> tuple[float, Floats]:
        slope, bias = np.exp(point[0]), point[1:]
        logits = slope * logs + bias
        error = softmax(logits, axis=1) - truth
        value = -(truth * log_softmax(logits, axis=1)).sum() + (bias**2).sum() / (2 * SPREAD**2)
        by_bias = error.sum(axis=0) + bias / SPREAD**2
        return float(value), np.concatenate([[(error * logs).sum() * slope], by_bias])

    found = minimize(loss, np.zeros(truth.shape[1] + 1), jac=True, method="L-BFGS-B")
    slope, bias = float(np.exp(found.x[0])), np.full(scores.shape[1], -np.inf)
    bias[known] = found.x[1:]
    fitted = Calibration(slope, bias, np.zeros(0))
    return replace(fitted, shares=fitted.posteriors(scores[labelled]).mean(axis=0))


def _logs(scores: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(scores, FLOOR))
    return logs
