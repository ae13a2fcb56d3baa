# SPDX-License-Identifier: Apache-2.0
"""Several readers as one: how they are combined, and what is fitted to labelled rows."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from generators.readers.ensemble import EnsembleReader, even_blend, fit_weights, log_odds
from validators.errors import InputError, ModelError
from validators.roles import Passage


class Fixed:
    """A reader whose scores a test gives."""

    def __init__(self, scores: NDArray[np.float64], labels: Sequence[str] = ("a", "b"), name: str = "fixed") -> None:
        self.model = name
        self.labels = tuple(labels)
        self.thresholds = np.full(len(self.labels), 0.3)
        self.scores = scores
        self.closed = False

    def read(self, passages: Sequence[Passage]) -> NDArray[np.float64]:
        return self.scores

    def close(self) -> None:
        self.closed = True


def drawn(rows: int = 400) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Targets, the scores of a reader that knows something and those of one that knows nothing."""
    rng = np.random.default_rng(0)
    truth = rng.random((rows, 3)) < [0.5, 0.2, 0.05]
    knowing = 1 / (1 + np.exp(-(2.0 * truth - 1.0 + rng.normal(size=truth.shape))))
    return truth.astype(np.float64), knowing, rng.random(truth.shape)


def test_an_ensemble_is_the_mean_of_log_odds() -> None:
    one, two = np.array([[0.2, 0.9]]), np.array([[0.6, 0.5]])
    ensemble = EnsembleReader([Fixed(one), Fixed(two)])
    scores = ensemble.read([Passage("x")])
    np.testing.assert_allclose(log_odds(scores), (log_odds(one) + log_odds(two)) / 2)
    np.testing.assert_allclose(ensemble.thresholds, 0.3)
    np.testing.assert_allclose(EnsembleReader([Fixed(one)]).read([Passage("x")]), one)


def test_a_reader_that_knows_nothing_gets_no_weight() -> None:
    targets, knowing, guessing = drawn()
    blend = fit_weights([knowing, guessing], targets)
    assert blend.weights[0] > 10 * blend.weights[1] >= 0
    assert blend.thresholds is not None
    assert ((blend.thresholds > 0) & (blend.thresholds < 1)).all()


def test_a_reader_that_is_always_wrong_gets_no_weight_below_zero() -> None:
    targets, knowing, _ = drawn()
    noise = np.random.default_rng(1).normal(size=targets.shape)
    wrong = 1 / (1 + np.exp(2.0 * targets - 1.0 + noise))
    assert fit_weights([knowing, wrong], targets).weights[1] == 0


def test_a_fitted_ensemble_is_calibrated_and_its_thresholds_find_what_was_chosen() -> None:
    targets, knowing, guessing = drawn(4000)
    blend = fit_weights([knowing, guessing], targets)
    ensemble = EnsembleReader([Fixed(knowing, "abc"), Fixed(guessing, "abc")], blend)
    scores = ensemble.read([Passage("x")] * 4000)
    np.testing.assert_allclose(scores.mean(axis=0), targets.mean(axis=0), atol=0.01)
    found = scores >= ensemble.thresholds
    assert (found & (targets > 0)).sum() / found.sum() > 2 * targets.mean()


def test_readers_of_other_labels_or_weights_for_other_readers_are_refused() -> None:
    one = Fixed(np.zeros((1, 2)))
    with pytest.raises(InputError, match="differ in b, c"):
        EnsembleReader([one, Fixed(np.zeros((1, 2)), ("a", "c"))])
    with pytest.raises(InputError, match="their order"):
        EnsembleReader([one, Fixed(np.zeros((1, 2)), ("b", "a"))])
    with pytest.raises(InputError, match="2 readers and 2 labels do not fit 1 readers"):
        EnsembleReader([one], even_blend(2, 2))
    with pytest.raises(InputError, match="at least one"):
        EnsembleReader([])
    with pytest.raises(InputError, match="do not fit targets"):
        fit_weights([np.zeros((3, 2))], np.zeros((3, 1)))
    with pytest.raises(InputError, match="no row has a label"):
        fit_weights([np.zeros((3, 2))], np.zeros((3, 2)))


def test_a_score_that_is_not_finite_goes_no_further() -> None:
    with pytest.raises(ModelError, match="not finite"):
        EnsembleReader([Fixed(np.zeros((1, 2))), Fixed(np.array([[np.nan, 0.5]]))]).read([Passage("x")])


def test_an_ensemble_closes_its_readers() -> None:
    members = [Fixed(np.zeros((1, 2))), Fixed(np.zeros((1, 2)))]
    EnsembleReader(members).close()
    assert all(member.closed for member in members)
