# SPDX-License-Identifier: Apache-2.0
"""Students on texts whose labels can be told from single words, with the hashed encoder."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from generators.backends.hashed import HashedEncoder
from generators.remembered import RememberingEncoder
from generators.sampling import matched_samples, spread_over_folds, stratified_sample
from generators.students import LinearStudent, fit_logistic, logistic_scores
from generators.training import out_of_fold, steady_thresholds, train

WORDS = ("lantern", "ocean", "gravel")
FILLERS = ("slow", "green", "tall", "late", "round", "warm", "old", "plain")


def texts_of(n_rows: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Row i has label i % 3 and says that label's word among others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % len(WORDS)
    texts = [f"{rng.choice(FILLERS)} {WORDS[label]} {rng.choice(FILLERS)} {n}" for n, label in enumerate(labels)]
    return texts, np.eye(len(WORDS))[labels]


def test_the_linear_student_learns_words_it_has_not_seen_together() -> None:
    texts, targets = texts_of(90)
    predictor = LinearStudent(HashedEncoder()).fit(texts, targets)
    new, truth = texts_of(30, seed=1)
    scores = predictor(new)
    assert scores.shape == (30, 3)
    assert (scores.argmax(axis=1) == truth.argmax(axis=1)).mean() > 0.9
    assert predictor([]).shape == (0, 3)
    # scores are probabilities: with an unpenalised intercept their mean over the training rows is the label's share
    np.testing.assert_allclose(predictor(texts).mean(axis=0), targets.mean(axis=0), atol=1e-3)


def test_hard_targets_give_the_weights_of_scikit_learn() -> None:
    texts, targets = texts_of(60)
    vectors = HashedEncoder().encode(texts).astype(np.float64)
    ours = fit_logistic(vectors, targets, 3.0)
    for column in range(3):
        theirs = LogisticRegression(C=3.0, tol=1e-8, max_iter=5000).fit(vectors, targets[:, column])
        np.testing.assert_allclose(ours[:-1, column], theirs.coef_[0], atol=5e-3)
        np.testing.assert_allclose(ours[-1, column], theirs.intercept_[0], atol=5e-3)


def test_soft_targets_are_rows_twice_with_weights() -> None:
    texts, hard = texts_of(60)
    soft = 0.2 + 0.5 * hard
    vectors = HashedEncoder().encode(texts).astype(np.float64)
    ours = logistic_scores(vectors, fit_logistic(vectors, soft, 3.0))
    twice = np.vstack([vectors, vectors])
    for column in range(3):
        weights = np.concatenate([soft[:, column], 1 - soft[:, column]])
        model = LogisticRegression(C=3.0, tol=1e-8, max_iter=5000)
        model.fit(twice, np.repeat([1, 0], 60), sample_weight=weights)
        np.testing.assert_allclose(ours[:, column], model.predict_proba(vectors)[:, 1], atol=2e-3)
    assert np.abs(ours - logistic_scores(vectors, fit_logistic(vectors, hard, 3.0))).max() > 0.1


def test_labels_without_positives_score_nothing_and_are_told() -> None:
    texts, targets = texts_of(30)
    targets = np.insert(targets, 1, 0.0, axis=1)
    predictor = LinearStudent(HashedEncoder(), penalty=10.0).fit(texts, targets)
    assert predictor.without_positives == (1,)
    scores = predictor(texts)
    assert (scores[:, 1] == 0).all()
    assert (scores[:, [0, 2, 3]] > 0).all()


def test_the_penalty_follows_the_data_and_stays_settled() -> None:
    texts, targets = texts_of(90)
    shuffled = targets[np.random.default_rng(3).permutation(90)]
    clear = LinearStudent(HashedEncoder()).fit(texts, targets)
    noise = LinearStudent(HashedEncoder()).fit(texts, shuffled)
    assert clear.student.penalty is not None
    assert noise.student.penalty is not None
    assert noise.student.penalty < clear.student.penalty
    assert clear.student.fit(texts, shuffled).note == clear.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets: targets[:-1], "for 30 texts"),
        (lambda targets: targets * 2, "between 0 and 1"),
        (lambda targets: targets * np.nan, "between 0 and 1"),
        (lambda targets: targets * 0, "no text has any label"),
    ],
)
def test_targets_that_teach_nothing_are_refused(change, message: str) -> None:
    texts, targets = texts_of(30)
    with pytest.raises(ValueError, match=message):
        LinearStudent(HashedEncoder()).fit(texts, change(targets))


def test_scores_out_of_fold_come_from_students_that_have_not_seen_the_row() -> None:
    texts, targets = texts_of(45)
    wrong = np.random.default_rng(0).permutation(45)
    student = LinearStudent(HashedEncoder(), penalty=1000.0)
    memorised = student.fit(texts, targets[wrong])(texts)
    held_out = out_of_fold(student, texts, targets[wrong], folds=5)
    truth = targets[wrong].argmax(axis=1)
    assert (memorised.argmax(axis=1) == truth).mean() > 0.9
    assert (held_out.argmax(axis=1) == truth).mean() < 0.6


def test_rare_labels_share_a_threshold() -> None:
    rng = np.random.default_rng(0)
    chosen = np.zeros((100, 3), dtype=np.bool_)
    chosen[:40, 0], chosen[40:43, 1], chosen[43:45, 2] = True, True, True
    scores = np.where(chosen, 0.3, 0.1) + rng.random((100, 3)) * 0.05
    thresholds = steady_thresholds(chosen, scores)
    assert thresholds[1] == thresholds[2] != thresholds[0]
    assert ((scores >= thresholds) == chosen).all()


def test_soft_targets_choose_the_thresholds_where_hard_labels_are_few() -> None:
    texts, hard = texts_of(45)
    reader = np.clip(0.8 * hard + 0.05, 0, 1)  # what a reader would say of every row
    none = np.zeros(hard.shape, dtype=np.bool_)
    none[0, 0] = True  # but hardly a row was meant to have a label
    soft = train(LinearStudent(HashedEncoder()), texts, reader, none, folds=3)
    new, truth = texts_of(30, seed=1)
    assert ((soft.predictor(new) >= soft.thresholds) == (truth > 0)).mean() > 0.85


def test_many_rows_are_trained_once_with_a_tenth_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.training.MANY_ROWS", 60)
    texts, targets = texts_of(60)
    trained = train(LinearStudent(HashedEncoder()), texts, targets, targets > 0, folds=5)
    new, truth = texts_of(30, seed=1)
    assert ((trained.predictor(new) >= trained.thresholds) == (truth > 0)).mean() > 0.85
    seen: list[int] = []

    class Counting(LinearStudent):
        def fit(self, texts, targets):
            seen.append(len(texts))
            return super().fit(texts, targets)

    train(Counting(HashedEncoder(), penalty=1.0), texts, targets, targets > 0, folds=5)
    assert seen == [54]


def test_samples_keep_the_shares_of_the_labels() -> None:
    targets = np.eye(3)[np.repeat([0, 1, 2], [600, 300, 100])]
    rows = stratified_sample(targets, 50, seed=1)
    assert len(set(rows.tolist())) == 50
    np.testing.assert_allclose(targets[rows].sum(axis=0), [30, 15, 5], atol=1)
    assert stratified_sample(targets, 50, seed=1).tolist() == rows.tolist()
    assert stratified_sample(targets, 50, seed=2).tolist() != rows.tolist()
    assert len(stratified_sample(targets, 5000, seed=1)) == 1000


def test_folds_spread_every_label() -> None:
    targets = np.eye(3)[np.repeat([0, 1, 2], [10, 15, 5])]
    fold = spread_over_folds(targets, 5, seed=0)
    for number in range(5):
        assert targets[fold == number].sum(axis=0).tolist() == [2, 3, 1]


def test_matched_samples_have_equal_counts_of_each_label() -> None:
    one, other = (np.eye(3)[np.repeat([0, 1, 2], counts)] for counts in ([5, 2, 0], [3, 4, 6]))
    left, right = matched_samples(one, other, seed=0)
    assert one[left].sum(axis=0).tolist() == other[right].sum(axis=0).tolist() == [3, 2, 0]


def test_a_remembered_text_is_encoded_once() -> None:
    asked: list[str] = []

    class Spy(HashedEncoder):
        def encode(self, texts):
            asked.extend(texts)
            return super().encode(texts)

    encoder = RememberingEncoder(Spy())
    np.testing.assert_array_equal(encoder.encode(["b", "a", "b"]), HashedEncoder().encode(["b", "a", "b"]))
    np.testing.assert_array_equal(encoder.encode(["c", "a"]), HashedEncoder().encode(["c", "a"]))
    assert sorted(asked) == ["a", "b", "c"]
    assert encoder.encode([]).shape == (0, 64)
