# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found, as values, as JSON and as tables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from validators.agreement import Interval
from validators.contamination import Contamination
from validators.transfer import LabelFigures

FORMAT = 1
MEANINGS: Mapping[str, str] = {
    "macro_auc": "Area under the ROC curve, mean over the labels of two classes in the test data; needs no threshold.",
    "macro_f1": "F1, mean over the labels that test rows have.",
    "micro_f1": "F1 over all decisions, each row and label being one.",
    "thresholds": "A label is found where its score reaches its threshold, chosen for the highest F1 on training rows "
    "that the student had not seen (out of folds, or a held-out tenth of 5,000 rows or more); labels with fewer than "
    "10 such rows share one. For soft targets the highest expected F1, a reader's scores counting as probabilities.",
    "expected_f1": "Of each label, as many of the highest scores on the test texts as promise the highest F1 if scores "
    "are probabilities (Jansche 2007; Ye et al. 2012): fits the test texts' shares without knowing a label.",
    "top_1": "The label of the highest score alone is found.",
    "prior_adjusted": "top_1 after the scores were calibrated on the same unseen training rows (Alexandari et al. "
    "2020) and adjusted to the shares of labels in the test texts, estimated from the texts without labels (EM of "
    "Saerens et al. 2002, for one label a row). It runs off to a few labels where a student knows little.",
    "intervals": "95 %, percentile bootstrap over test rows; differences are paired: both on the same resamples.",
    "majority": "Always the commonest label of the test data, which no student is told.",
    "all labels": "Every label for every row: what F1 by thresholds gives to whoever never says no.",
}


@dataclass(frozen=True, slots=True)
class Result:
    """One student, trained on one dataset with one kind of targets."""

    trained_on: str
    student: str
    targets: str
    """hard (labels), soft (a reader's scores), or none."""
    rows: int
    """Training rows of a run."""
    runs: int
    """Runs on different samples of the dataset, whose figures are averaged."""
    without_positives: tuple[str, ...]
    """Labels that no training row has: their score is 0 for every text. Of several runs, those of any."""
    notes: tuple[str, ...]
    figures: Mapping[str, Interval | None]
    """`macro_auc`, and `macro_f1.<rule>` and `micro_f1.<rule>` for each rule."""
    per_label: Mapping[str, LabelFigures]

    @property
    def name(self) -> str:
        """How differences name it."""
        return f"{self.student} on {self.trained_on}, {self.targets}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One result minus another, on the same test rows and resamples."""

    one: str
    other: str
    figures: Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that one evaluation found."""

    release: str
    release_rows: int
    readers: tuple[str, ...]
    against: str | None
    test: str
    test_licence: str
    test_sha256: str
    test_rows: int
    """Rows measured on, those dropped as contaminated not among them."""
    encoder: str
    labels: tuple[str, ...]
    one_class: tuple[str, ...]
    """Labels left out of AUC: no test row has them, or all do."""
    without_test_rows: tuple[str, ...]
    """Labels left out of macro F1: no test row has them."""
    similarity: float
    contamination: tuple[Contamination, ...]
    """Test rows (numbered from 0) that repeat a row of the release or of the one it is compared with; dropped."""
    real_rows_dropped: int
    """Real training rows that repeat a test row; no student was trained on them."""
    unavailable: Mapping[str, str]
    """What was left out, and why."""
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers; None where a figure is undefined."""
        return {"format": FORMAT, **asdict(self), "meanings": dict(MEANINGS)}


def results_table(evaluation: Evaluation) -> Table:
    """Show one line a result."""
    table = Table(
        title=f"{evaluation.release} ({evaluation.release_rows} rows) tested on {evaluation.test} "
        f"({evaluation.test_rows} rows, {len(evaluation.labels)} labels)",
        caption="95 % intervals; thr: thresholds from training rows, exp: highest expected F1, top: highest score",
    )
    for name in ("trained on", "student", "targets", "rows"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for name in ("macro AUC", "macro F1\nthr", "micro F1\nthr", "macro F1\nexp", "micro F1\nexp", "macro F1\ntop"):
        table.add_column(name, justify="right")
    for result in evaluation.results:
        rows = f"{result.rows}" if result.runs == 1 else f"{result.runs} x {result.rows}"
        figures = result.figures
        table.add_row(
            result.trained_on,
            result.student,
            result.targets,
            rows if result.rows else "",
            _with_bounds(figures.get("macro_auc")),
            _with_bounds(figures.get("macro_f1.thresholds")),
            _alone(figures.get("micro_f1.thresholds")),
            _with_bounds(figures.get("macro_f1.expected_f1")),
            _alone(figures.get("micro_f1.expected_f1")),
            _alone(figures.get("macro_f1.top_1")),
        )
    return table


def differences_table(evaluation: Evaluation) -> Table:
    """Show one line a difference."""
    table = Table("minuend", "subtrahend", "macro AUC", "macro F1 thr", "macro F1 exp", title="Paired differences")
    for difference in evaluation.differences:
        names = ("macro_auc", "macro_f1.thresholds", "macro_f1.expected_f1")
        table.add_row(
            difference.one, difference.other, *(_with_bounds(difference.figures.get(name), sign="+") for name in names)
        )
    return table


def labels_table(evaluation: Evaluation) -> Table:
    """Show AUC and F1 by thresholds of each label, for the results of a student."""
    shown = [result for result in evaluation.results if result.targets != "none"]
    columns = [f"{result.trained_on}\n{result.student} {result.targets}" for result in shown]
    table = Table("label", "test rows", *columns, title="AUC / F1 (thresholds) by label")
    for label in evaluation.labels:
        figures = [result.per_label[label] for result in shown]
        cells = [f"{_number(one.auc)} / {_number(one.f1)}" for one in figures]
        table.add_row(label, str(figures[0].positives) if figures else "", *cells)
    return table


def _with_bounds(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return "-"
    # in two lines, or the table would be too wide for most terminals
    return f"{interval.estimate:{sign}.3f}\n{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"


def _alone(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.estimate:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
