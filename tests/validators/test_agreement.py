# SPDX-License-Identifier: Apache-2.0
"""Agreement with people: the figures are those of scikit-learn and scipy, and what is undefined is named."""

import json

import numpy as np
import pytest
from scipy.stats import bootstrap  # type: ignore[import-untyped]
from sklearn.metrics import f1_score, roc_auc_score  # type: ignore[import-untyped]

from validators.agreement import Agreement, Interval, agreement, bootstrap_intervals, confusion_table, wilson
from validators.errors import InputError, ModelError
from validators.label_metrics import (
    Flags,
    Floats,
    average_precision,
    best_thresholds,
    brier,
    calibration_error,
    expecting_f1,
    f1,
    roc_auc,
    top_k_accuracy,
)

LABELS = ("joy", "fear", "calm")
HALVES = np.full(3, 0.5)


def choices(rows: int = 300, labels: int = 3, seed: int = 0) -> tuple[Flags, Floats]:
    """Targets that follow the scores loosely; the scores are coarse, so that ties abound."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 21, size=(rows, labels)) / 20
    return random.random((rows, labels)) < scores * 0.6, scores


def column(*values: float) -> Floats:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def chosen(*values: int) -> Flags:
    return np.array(values, dtype=np.bool_).reshape(-1, 1)


def test_auc_and_f1_are_those_of_scikit_learn():
    targets, scores = choices()
    assert roc_auc(targets, scores) == pytest.approx(roc_auc_score(targets, scores, average=None))
    thresholds = np.array([0.2, 0.5, 0.95])
    found = scores >= thresholds
    assert f1(targets, scores, thresholds) == pytest.approx(f1_score(targets, found, average=None))
    result = agreement(targets, scores, thresholds, LABELS)
    assert result.macro_f1 is not None
    assert result.micro_f1 is not None
    assert result.macro_f1.estimate == pytest.approx(f1_score(targets, found, average="macro"))
    assert result.micro_f1.estimate == pytest.approx(f1_score(targets, found, average="micro"))


def test_auc_by_hand():
    # the chosen 0.4 beats 0.1, ties with 0.4 and loses to 0.8
    assert roc_auc(chosen(1, 0, 0, 0), column(0.4, 0.1, 0.4, 0.8)) == pytest.approx([1.5 / 3])


def test_a_score_at_the_threshold_counts_as_found():
    assert f1(chosen(1, 0), column(0.5, 0.4), np.array([0.5])).tolist() == [1.0]
    assert f1(chosen(1, 0), column(0.5, 0.4), np.array([0.51])).tolist() == [0.0]


def test_labels_with_one_class_are_left_out_of_means_and_named():
    targets, scores = choices()
    targets[:, 1], targets[:, 2] = False, True
    result = agreement(targets, scores, HALVES, LABELS)
    assert result.one_class == ("fear", "calm")
    assert result.without_positives == ("fear",)
    fear, calm, joy = (result.per_label[label] for label in ("fear", "calm", "joy"))
    assert (fear.auc, fear.f1, fear.average_precision, calm.auc) == (None, None, None, None)
    assert (fear.positives, calm.positives) == (0, 300)
    assert calm.average_precision == 1.0
    assert joy.f1 is not None
    assert calm.f1 is not None
    assert result.macro_auc is not None
    assert result.macro_f1 is not None
    assert result.micro_f1 is not None
    assert result.macro_auc.estimate == joy.auc
    assert result.macro_f1.estimate == pytest.approx((joy.f1 + calm.f1) / 2)
    # the false alarms for fear still count here
    assert result.micro_f1.estimate == pytest.approx(f1_score(targets, scores >= 0.5, average="micro"))


def test_without_rows_everything_is_undefined_and_still_json():
    result = agreement(np.zeros((0, 3), dtype=np.bool_), np.zeros((0, 3)), HALVES, LABELS)
    assert result.one_class == result.without_positives == LABELS
    plain = json.loads(json.dumps(result.as_json(), allow_nan=False))
    defined = {name for name, value in plain.items() if value is not None}
    assert defined == {"rows", "rows_with_labels", "one_class", "without_positives", "per_label"}
    assert plain["per_label"]["joy"] == {
        "positives": 0,
        "threshold": 0.5,
        "auc": None,
        "f1": None,
        "average_precision": None,
        "calibration_error": None,
        "brier": None,
    }


def test_as_json_holds_every_figure():
    result = agreement(*choices(), HALVES, LABELS, n_resamples=50)
    plain = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert set(plain) == set(Agreement.__dataclass_fields__)
    assert plain["macro_auc"].keys() == {"estimate", "low", "high"}
    assert list(plain["per_label"]) == list(LABELS)
    assert plain["one_class"] == []


def test_top_k_looks_at_rows_with_labels_alone():
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 1]], dtype=np.bool_)
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.2, 0.2]])
    assert top_k_accuracy(targets, scores, 1) == pytest.approx(1 / 3)  # of equal scores the first label leads
    assert top_k_accuracy(targets, scores, 2) == 1.0
    assert top_k_accuracy(targets, scores, 9) == 1.0
    assert top_k_accuracy(targets[2:3], scores[2:3], 1) is None
    assert agreement(targets, scores, HALVES, LABELS, n_resamples=20).rows_with_labels == 3
    with pytest.raises(ValueError, match="k must be"):
        top_k_accuracy(targets, scores, 0)


def test_calibration_error_by_hand():
    # two bins of two rows: gaps 0.1 + 0.3 - 0 and 0.7 + 0.9 - 2
    assert calibration_error(chosen(0, 0, 1, 1), column(0.1, 0.3, 0.7, 0.9), bins=2) == pytest.approx([0.8 / 4])
    # inside one bin they cancel
    assert calibration_error(chosen(0, 0, 1, 1), column(0.1, 0.3, 0.7, 0.9), bins=1) == pytest.approx([0.0])
    # rows of equal score share a bin, so a constant score equal to the base rate is calibrated
    assert calibration_error(chosen(1, 0, 0, 0), column(*[0.25] * 4)) == pytest.approx([0.0])
    assert calibration_error(chosen(0, 0, 0, 0), column(*[0.25] * 4)) == pytest.approx([0.25])


def test_calibration_is_pooled_over_all_decisions():
    targets = np.array([[1, 0]] * 10, dtype=np.bool_)
    scores = np.full((10, 2), 0.5)
    result = agreement(targets, scores, HALVES[:2], LABELS[:2], n_resamples=20)
    assert result.calibration_error == pytest.approx(0.0)  # half of all decisions are right
    assert result.macro_calibration_error == pytest.approx(0.5)
    assert result.brier == pytest.approx(0.25)


def test_a_calibrated_reader_has_a_lower_error_than_a_bold_one():
    random = np.random.default_rng(3)
    scores = random.random((5000, 1))
    targets = random.random((5000, 1)) < scores
    bold = np.clip(scores * 3 - 1, 0, 1)
    assert calibration_error(targets, scores)[0] < 0.03 < 0.1 < calibration_error(targets, bold)[0]
    assert brier(targets, scores)[0] < brier(targets, bold)[0]


def test_best_thresholds_lie_between_the_scores_that_they_part():
    assert best_thresholds(chosen(1, 1, 0, 0), column(0.9, 0.6, 0.2, 0.1)) == pytest.approx([0.4])
    # 0.9 alone and all three have an F1 of 0.8 and 0.857: recall wins
    assert best_thresholds(chosen(1, 0, 1, 1), column(0.9, 0.6, 0.5, 0.4)) == pytest.approx([0.2])
    # equal F1 of 2/3: the higher threshold
    assert best_thresholds(chosen(1, 0, 0, 1), column(0.8, 0.6, 0.5, 0.4)) == pytest.approx([0.7])


def test_best_thresholds_of_labels_that_nobody_chose():
    targets = np.zeros((3, 4), dtype=np.bool_)
    targets[0, 2] = True  # but with a score of 0
    scores = np.array([[0.1, 1.0, 0.0, 0.0], [0.2, 0.3, 0.4, 0.0], [0.0, 0.1, 0.0, 0.0]])
    thresholds = best_thresholds(targets, scores)
    assert thresholds == pytest.approx([0.6, 1.0, 0.7, 0.5])
    assert (thresholds < 1).all()
    assert best_thresholds(targets[:0], scores[:0]).tolist() == [0.5] * 4


def test_thresholds_for_soft_targets_have_the_highest_expected_f1():
    rng = np.random.default_rng(3)
    targets = rng.random((60, 1)) ** 3
    scores = np.clip(targets + rng.normal(0, 0.2, (60, 1)), 0, 1)
    (threshold,) = best_thresholds(targets, scores)

    def expected_f1(at):
        found = scores >= at
        return 2 * targets[found].sum() / (found.sum() + targets.sum())

    assert expected_f1(threshold) == pytest.approx(max(expected_f1(at) for at in scores.ravel()))
    # certain targets are the flags themselves
    flags = targets > 0.5
    assert best_thresholds(flags, scores) == best_thresholds(flags.astype(float), scores)


def test_expecting_f1_finds_as_many_rows_as_promise_most():
    scores = np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.0], [0.1, 0.1, 0.0], [0.05, 0.1, 0.0]])
    found = expecting_f1(scores)
    assert found[:, 0].tolist() == [True, True, False, False]
    # where nothing stands out, F1 is best served by all: never by none
    assert found[:, 1].all()
    assert not found[:, 2].any()


def test_expecting_f1_comes_near_the_best_that_labels_would_allow():
    rng = np.random.default_rng(5)
    scores = rng.beta(0.3, 3.0, (4000, 1))
    targets = rng.random((4000, 1)) < scores
    (known,) = best_thresholds(targets, scores)

    def f1_of(found):
        return 2 * (found & targets).sum() / (found.sum() + targets.sum())

    assert f1_of(expecting_f1(scores)) > f1_of(scores >= known) - 0.02
    assert f1_of(expecting_f1(scores)) > f1_of(scores >= 0.5) + 0.05


def test_intervals_agree_with_scipy():
    targets, scores = choices(rows=120)
    ours = bootstrap_intervals(targets, scores, HALVES, n_resamples=2000)["micro_f1"]
    assert ours is not None

    def micro(rows: Floats) -> float:
        picked = rows.astype(int)
        return float(f1_score(targets[picked], scores[picked] >= HALVES, average="micro"))

    theirs = bootstrap(
        (np.arange(120),), micro, n_resamples=500, method="percentile", vectorized=False, random_state=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_intervals_narrow_with_more_rows_and_widen_with_confidence():
    widths = []
    for rows, confidence in ((2000, 0.95), (100, 0.95), (100, 0.99)):
        interval = bootstrap_intervals(*choices(rows), HALVES, confidence=confidence)["macro_auc"]
        assert interval is not None
        assert interval.low < interval.estimate < interval.high
        widths.append(interval.high - interval.low)
    assert widths[0] < widths[1] / 2 < widths[1] < widths[2]


def test_intervals_depend_on_the_seed_alone_and_not_on_blocks(monkeypatch):
    targets, scores = choices()
    first = bootstrap_intervals(targets, scores, HALVES, seed=7)
    monkeypatch.setattr("validators.agreement.CHUNK_CELLS", 1000)
    assert bootstrap_intervals(targets, scores, HALVES, seed=7) == first
    assert bootstrap_intervals(targets, scores, HALVES, seed=8) != first


def test_a_single_row_has_an_f1_but_no_auc():
    intervals = bootstrap_intervals(chosen(1), column(0.9), HALVES[:1])
    assert intervals == {"macro_auc": None, "macro_f1": Interval(1, 1, 1), "micro_f1": Interval(1, 1, 1)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    targets, scores = choices()
    scores[4, 2] = bad
    for measure in (roc_auc, average_precision, brier, calibration_error, best_thresholds):
        with pytest.raises(ModelError, match=r"1 of 900 scores are not finite\n.*row 4, label 2"):
            measure(targets, scores)
    with pytest.raises(ModelError, match="not finite"):
        agreement(targets, scores, HALVES, LABELS)


def test_log_odds_are_ranked_but_are_no_probabilities():
    targets, scores = choices()
    odds = scores * 8 - 4
    assert roc_auc(targets, odds).tolist() == roc_auc(targets, scores).tolist()
    with pytest.raises(ModelError, match="from -4 to 4 are no probabilities"):
        agreement(targets, odds, HALVES, LABELS)


def test_what_does_not_fit_is_refused():
    targets, scores = choices()
    with pytest.raises(ValueError, match="bool, not float64"):
        roc_auc(targets.astype(np.float64), scores)
    with pytest.raises(ValueError, match="scores of shape"):
        roc_auc(targets, scores[:5])
    with pytest.raises(ValueError, match="3 finite thresholds"):
        f1(targets, scores, HALVES[:2])
    with pytest.raises(ValueError, match="3 different labels"):
        agreement(targets, scores, HALVES, ("joy", "fear", "joy"))
    with pytest.raises(ValueError, match="at least one label"):
        roc_auc(targets[:, :0], scores[:, :0])
    with pytest.raises(ValueError, match="n_resamples 0"):
        bootstrap_intervals(targets, scores, HALVES, n_resamples=0)


def test_wilson():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20
    interval = wilson(81, 263)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = wilson(0, 20)
    assert none is not None
    assert (none.estimate, none.low, none.high) == pytest.approx((0, 0, 0.1611), abs=5e-5)
    assert wilson(0, 0) is None
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_confusion_counts_intended_by_perceived():
    table = confusion_table(["joy", "joy", "fear"], ["joy", "calm", "calm"], LABELS)
    assert table.loc["joy"].to_dict() == {"joy": 1, "fear": 0, "calm": 1}
    assert table.loc["fear", "calm"] == 1
    assert table.to_numpy().sum() == 3
    assert (table.index.name, table.columns.name) == ("intended", "perceived")
    assert not confusion_table([], [], LABELS).to_numpy().any()
    with pytest.raises(InputError, match="'dread'"):
        confusion_table(["joy"], ["dread"], LABELS)
