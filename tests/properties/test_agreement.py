# SPDX-License-Identifier: Apache-2.0
"""What must hold of agreement and diversity for any scores, choices and texts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sklearn.metrics import f1_score, roc_auc_score  # type: ignore[import-untyped]

from validators.agreement import Agreement, agreement, bootstrap_intervals, wilson
from validators.diversity import distinct_n, diversity, repeated_openings, repeated_phrases, self_bleu, tokens
from validators.label_metrics import (
    Flags,
    Floats,
    average_precision,
    best_thresholds,
    calibration_error,
    f1,
    roc_auc,
    weighted_auc,
    weighted_f1,
)

FEW = settings(max_examples=60, deadline=None)


@st.composite
def readings(draw: st.DrawFn, min_rows: int = 1) -> tuple[Flags, Floats]:
    """Targets and scores in steps of a tenth, so that ties and labels of one class abound."""
    rows, labels = draw(st.integers(min_rows, 25)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rates = random.choice([0, 0.1, 0.5, 1], size=labels)
    return random.random((rows, labels)) < rates, random.integers(0, 11, size=(rows, labels)) / 10


def measure(targets: Flags, scores: Floats, **options: int) -> Agreement:
    labels = [f"label {number}" for number in range(targets.shape[1])]
    return agreement(targets, scores, np.full(len(labels), 0.45), labels, n_resamples=30, **options)


texts_of = st.lists(st.text(alphabet="abAB '-.,\n", max_size=20), max_size=15)


@FEW
@given(readings())
def test_auc_knows_ranks_alone(data):
    targets, scores = data
    areas = roc_auc(targets, scores)
    for transformed in (scores**3, np.exp(5 * scores) - 7, scores / 2):
        assert roc_auc(targets, transformed).tolist() == pytest.approx(areas.tolist(), nan_ok=True)
    assert roc_auc(targets, -scores).tolist() == pytest.approx((1 - areas).tolist(), nan_ok=True)


@FEW
@given(readings(min_rows=2), st.integers(0, 2**32 - 1))
def test_a_weight_is_so_many_copies_of_a_row(data, seed):
    targets, scores = data
    weights = np.random.default_rng(seed).integers(0, 4, size=len(targets))
    copied, found = np.repeat(targets, weights, axis=0), np.repeat(scores, weights, axis=0) >= 0.5
    areas = weighted_auc(targets, scores, weights[:, None].astype(np.float64))[0]
    values, micro = weighted_f1(targets, scores >= 0.5, weights[:, None].astype(np.float64))
    for column in range(targets.shape[1]):
        if copied[:, column].any():
            assert values[0, column] == pytest.approx(f1_score(copied[:, column], found[:, column]))
        if copied[:, column].any() and not copied[:, column].all():
            expected = roc_auc_score(copied[:, column], np.repeat(scores[:, column], weights))
            assert areas[column] == pytest.approx(expected)
        else:
            assert np.isnan(areas[column])
    if copied.any() or found.any():
        assert micro[0] == pytest.approx(f1_score(copied.ravel(), found.ravel()))


@FEW
@given(readings(), st.randoms(use_true_random=False), st.integers(0, 99))
def test_the_order_of_rows_changes_nothing(data, random, seed):
    targets, scores = data
    order = list(range(len(targets)))
    random.shuffle(order)
    assert measure(targets[order], scores[order], seed=seed) == measure(targets, scores, seed=seed)
    thresholds = np.full(targets.shape[1], 0.45)
    intervals = bootstrap_intervals(targets, scores, thresholds, n_resamples=30, seed=seed)
    assert bootstrap_intervals(targets[order], scores[order], thresholds, n_resamples=30, seed=seed) == intervals


@FEW
@given(readings())
def test_perfect_scores_give_one(data):
    targets, _ = data
    scores = targets.astype(np.float64)
    result = measure(targets, scores)
    for number, label in enumerate(result.per_label.values()):
        has_positives = bool(targets[:, number].any())
        assert (label.f1, label.average_precision) == ((1.0, 1.0) if has_positives else (None, None))
        assert label.auc == (None if f"label {number}" in result.one_class else 1.0)
        assert (label.calibration_error, label.brier) == (0.0, 0.0)
    assert result.calibration_error == 0.0
    assert result.top_1_accuracy == (1.0 if targets.any() else None)
    for interval in (result.macro_auc, result.macro_f1, result.micro_f1):
        assert interval is None or (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)


@FEW
@given(readings(min_rows=0))
def test_figures_are_shares_and_plain_json(data):
    targets, scores = data
    result = measure(targets, scores)
    plain = json.loads(json.dumps(result.as_json(), allow_nan=False))
    named = [value for name, value in plain.items() if isinstance(value, float)]
    named += [value for label in plain["per_label"].values() for value in label.values() if isinstance(value, float)]
    assert all(0 <= value <= 1 for value in named)
    assert set(result.without_positives) <= {f"label {n}" for n in np.flatnonzero(~targets.any(axis=0))}
    assert {name for name, label in result.per_label.items() if label.auc is None} == set(result.one_class)
    assert (result.macro_auc is None) == (len(result.one_class) == targets.shape[1])


@FEW
@given(readings())
def test_no_other_threshold_has_a_higher_f1(data):
    targets, scores = data
    thresholds = best_thresholds(targets, scores)
    assert ((thresholds > 0) & (thresholds < 1)).all()
    best = f1(targets, scores, thresholds)
    for other in np.arange(0.05, 1.1, 0.1):  # between all scores; the lowest finds all but those of 0
        assert (best >= f1(targets, scores, np.full(len(best), other)))[targets.any(axis=0)].all()


@FEW
@given(readings())
def test_average_precision_of_constant_scores_is_the_share_of_positives(data):
    """And that of any scores lies above 0 and at most at 1."""
    targets, scores = data
    values = average_precision(targets, scores)
    defined = targets.any(axis=0)
    assert np.isnan(values[~defined]).all()
    assert (values[defined] > 0).all()
    assert (values[defined] <= 1 + 1e-12).all()
    constant = average_precision(targets, np.full(scores.shape, 0.5))
    assert constant[defined] == pytest.approx(targets.mean(axis=0)[defined])


@FEW
@given(readings(), st.integers(1, 20))
def test_calibration_error_lies_between_its_bounds(data, bins):
    """Not below the gap of the means (one bin), not above the mean gap (a bin for each row)."""
    targets, scores = data
    errors = calibration_error(targets, scores, bins=bins)
    assert (errors >= np.abs((scores - targets).mean(axis=0)) - 1e-12).all()
    assert (errors <= np.abs(scores - targets).mean(axis=0) + 1e-12).all()


@given(st.integers(1, 10**6).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_wilson_contains_its_estimate(counts):
    interval = wilson(*counts)
    assert interval is not None
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
    wider = wilson(*counts, confidence=0.99)
    assert wider is not None
    assert wider.high - wider.low > interval.high - interval.low


@FEW
@given(texts_of, st.randoms(use_true_random=False))
def test_diversity_does_not_depend_on_the_order_of_rows(texts, random):
    labels = [("joy", "fear", "neutral")[number % 3] for number in range(len(texts))]
    order = list(range(len(texts)))
    random.shuffle(order)
    found = diversity(texts, labels, order, neutral="neutral")
    assert found == diversity(
        [texts[row] for row in order], [labels[row] for row in order], range(len(texts)), neutral="neutral"
    )
    json.dumps(found.as_json(), allow_nan=False)


@FEW
@given(texts_of, st.integers(1, 3))
def test_distinct_n_is_a_share_that_repetition_lowers(texts, n):
    share = distinct_n(texts, n)
    if any(len(tokens(text)) >= n for text in texts):
        assert share is not None
        assert 0 < share <= 1
        assert distinct_n(texts * 2, n) == pytest.approx(share / 2)
    else:
        assert share is None


@FEW
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=7).map(" ".join), min_size=2, max_size=8))
def test_self_bleu_is_sacrebleu_leaving_one_out(texts):
    metric = BLEU(tokenize="none", effective_order=True)
    alone = [metric.sentence_score(text, texts[:n] + texts[n + 1 :]).score for n, text in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(np.mean(alone) / 100)


@FEW
@given(texts_of, st.integers(1, 3), st.integers(0, 5))
def test_what_repeats_really_occurs_that_often(texts, at_least, most):
    for found in (
        repeated_openings(texts, at_least=at_least, most=most),
        repeated_phrases(texts, at_least=at_least, most=most),
    ):
        assert len(found) == len({tuple(tokens(phrase)) for phrase in found}) <= most
        counts = []
        for phrase in found:
            words = tokens(phrase)
            runs = [{tuple(cut[n : n + len(words)]) for n in range(len(cut))} for cut in map(tokens, texts)]
            counts.append(sum(tuple(words) in of_text for of_text in runs))
        assert all(count >= at_least for count in counts)
    for opening in repeated_openings(texts, at_least=at_least, most=most):
        starts = [tokens(text)[:3] for text in texts]
        assert starts.count(tokens(opening)) >= at_least
