# SPDX-License-Identifier: Apache-2.0
"""Figures of students against scikit-learn's, the adjustment of priors where the answer is known, and copies."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score  # type: ignore[import-untyped]

from generators.backends.hashed import HashedEncoder
from generators.calibration import fit_calibration
from validators import contamination
from validators.contamination import find_contamination
from validators.transfer import adjust_priors, answer, highest, measure

LABELS = ("a", "b", "c")


def draw(shares: list[float], n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of three normal classes in a plane, and the log likelihood of each class."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n_rows, p=shares)
    centres = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    points = centres[labels] + rng.normal(size=(n_rows, 2))
    return labels, -((points[:, None, :] - centres) ** 2).sum(axis=2) / 2


def posteriors_of(likelihoods: np.ndarray, shares: np.ndarray) -> np.ndarray:
    weighed: np.ndarray = np.exp(likelihoods) * shares
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))


def test_the_shares_of_the_test_rows_are_found_without_their_labels() -> None:
    even = np.full(3, 1 / 3)
    labels, likelihoods = draw([0.8, 0.15, 0.05], 4000, seed=0)
    plain = posteriors_of(likelihoods, even)
    adjusted = adjust_priors(plain, even)
    np.testing.assert_allclose(adjusted.mean(axis=0), [0.8, 0.15, 0.05], atol=0.02)
    np.testing.assert_allclose(adjusted, posteriors_of(likelihoods, np.array([0.8, 0.15, 0.05])), atol=0.05)
    truth = np.eye(3, dtype=np.bool_)[labels]
    assert (highest(adjusted) & truth).sum() > (highest(plain) & truth).sum() + 200


def test_shares_that_have_not_changed_stay() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    _, likelihoods = draw([0.5, 0.3, 0.2], 4000, seed=1)
    plain = posteriors_of(likelihoods, shares)
    np.testing.assert_allclose(adjust_priors(plain, shares), plain, atol=0.05)


def test_a_label_without_share_keeps_none() -> None:
    posteriors = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 0.0]])
    adjusted = adjust_priors(posteriors, np.array([0.5, 0.5, 0.0]))
    assert (adjusted[:, 2] == 0).all()
    assert np.isfinite(adjusted).all()


def test_calibration_undoes_overconfidence_and_bias() -> None:
    even = np.full(3, 1 / 3)
    labels, likelihoods = draw([1 / 3, 1 / 3, 1 / 3], 3000, seed=2)
    true = posteriors_of(likelihoods, even)
    distorted = np.insert(true**2 * np.array([0.9, 0.2, 0.5]), 3, 0.0, axis=1)  # and a label that no row has
    chosen = np.eye(4, dtype=np.bool_)[labels]
    calibration = fit_calibration(chosen[:1500], distorted[:1500])
    assert calibration.slope == pytest.approx(0.5, abs=0.05)
    calibrated = calibration.posteriors(distorted[1500:])
    np.testing.assert_allclose(calibrated[:, :3], true[1500:], atol=0.08)
    assert (calibrated[:, 3] == 0).all()
    np.testing.assert_allclose(calibration.shares, [*np.bincount(labels[:1500], minlength=3) / 1500, 0], atol=0.01)


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((80, 3)) < 0.3
    scores = np.clip(rng.random((80, 3)) * 0.7 + 0.3 * targets, 0, 1)
    one = measure(targets, [answer(scores, np.full(3, 0.6))], LABELS, n_resamples=40)
    assert one.estimates["macro_auc"] == pytest.approx(roc_auc_score(targets, scores, average="macro"))
    for rule, found in (("thresholds", scores >= 0.6), ("top_1", highest(scores))):
        for mean in ("macro", "micro"):
            theirs = f1_score(targets, found, average=mean, zero_division=0)
            assert one.estimates[f"{mean}_f1.{rule}"] == pytest.approx(theirs)
    assert one.per_label["b"].f1 == pytest.approx(f1_score(targets[:, 1], scores[:, 1] >= 0.6))
    interval = one.intervals()["macro_auc"]
    assert interval is not None
    assert interval.low < interval.estimate < interval.high

    other = measure(targets, [answer(1 - scores, np.full(3, 0.6))], LABELS, n_resamples=40)
    both = measure(
        targets, [answer(scores, np.full(3, 0.6)), answer(1 - scores, np.full(3, 0.6))], LABELS, n_resamples=40
    )
    assert both.estimates["macro_auc"] == pytest.approx(0.5)
    difference = one.minus(other)["macro_auc"]
    assert difference is not None
    assert difference.estimate == pytest.approx(2 * one.estimates["macro_auc"] - 1)
    # AUC of reversed scores is 1 - AUC in every resample, so the paired interval is twice as wide as the plain one
    assert difference.high - difference.low == pytest.approx(2 * (interval.high - interval.low))


def test_a_label_of_one_class_is_left_out() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=np.bool_)
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.8, 0.3, 0.5]])
    one = measure(targets, [answer(scores, np.full(3, 0.6))], LABELS, n_resamples=5)
    assert one.estimates["macro_auc"] == 1.0
    assert one.per_label["c"].auc is None
    assert one.per_label["c"].f1 is None


def test_copies_are_those_of_a_full_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "BLOCK_ROWS", 3)
    monkeypatch.setattr(contamination, "TILE_ROWS", 4)
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(8)]
    train = [" ".join(rng.choice(words, 3)) for _ in range(23)]
    test = [" ".join(rng.choice(words, 3)) for _ in range(17)] + [train[20].upper() + "!", train[3]]
    encoder = HashedEncoder()
    ids = [f"t{n}" for n in range(23)]
    found = find_contamination(ids, train, list(map(str, range(19))), test, encoder, similarity=0.65)
    cosines = encoder.encode(test) @ encoder.encode(train).T
    near = {row for row in range(19) if cosines[row].max() >= 0.65}
    assert {int(one.test_id) for one in found} == near | {17, 18}
    assert 2 < len(found) < 19
    assert [one.kind for one in found[-2:]] == ["exact", "exact"]
    for one in found:
        if one.kind == "near":
            assert cosines[int(one.test_id), int(one.train_id[1:])] == pytest.approx(cosines[int(one.test_id)].max())
    assert find_contamination([], [], ["0"], ["x"], encoder) == []
