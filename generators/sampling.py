# SPDX-License-Identifier: Apache-2.0
"""Seeded draws of labelled rows that keep the shares of the labels.

The stratum of a row is its strongest label (the first of equals): most texts have one label, and strata by sets of
labels would mostly hold a single row.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def spread_over_folds(targets: Floats, folds: int, seed: int) -> Rows:
    """Give each row a fold from 0 on, so that the rows of a label are spread evenly over all folds.

    `targets` has shape (rows, labels). scikit-learn's StratifiedKFold warns of labels with fewer rows than folds, which
    small datasets have as a rule.
    """
    order = _by_label(targets, seed)
    fold = np.empty(len(targets), dtype=np.int64)
    fold[order] = np.arange(len(targets)) % max(1, min(folds, len(targets)))
    return fold


def stratified_sample(targets: Floats, n_rows: int, seed: int) -> Rows:
    """Draw rows so that the shares of the labels stay those of the whole, to within one row a label.

    Systematic sampling with a random start (Madow and Madow 1944) from the rows sorted by label, in random order within
    one. Returns at most `n_rows` positions, ascending.
    """
    total = len(targets)
    if n_rows >= total:
        return np.arange(total)
    rng = np.random.default_rng(seed)
    places = ((np.arange(n_rows) + rng.random()) * total / n_rows).astype(np.int64)
    return np.sort(_by_label(targets, seed)[places])


def matched_samples(one: Floats, other: Floats, seed: int) -> tuple[Rows, Rows]:
    """Draw from two datasets equally many rows of every label, as many as the one with fewer has.

    Returns the positions in each, ascending.
    """
    left, right = one.argmax(axis=1), other.argmax(axis=1)
    rng = np.random.default_rng(seed)
    picked: tuple[list[Rows], list[Rows]] = ([], [])
    for label in range(one.shape[1]):
        members = [np.flatnonzero(strongest == label) for strongest in (left, right)]
        count = min(map(len, members))
        for rows, chosen in zip(members, picked, strict=True):
            chosen.append(rng.permutation(rows)[:count])
    return np.sort(np.concatenate(picked[0])), np.sort(np.concatenate(picked[1]))


def _by_label(targets: Floats, seed: int) -> Rows:
    """All rows, those of one label after those of another, in random order within a label."""
    order: Rows = np.lexsort((np.random.default_rng(seed).random(len(targets)), targets.argmax(axis=1)))
    return order
