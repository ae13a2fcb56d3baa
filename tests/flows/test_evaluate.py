# SPDX-License-Identifier: Apache-2.0
"""Evaluations of small releases whose labels hang on single words, with the hashed encoder."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from flows.evaluate import EvaluateSettings, evaluate
from flows.evaluation import Evaluation, Result, differences_table, labels_table, results_table
from flows.lessons import AS_MANY, RELEASE, Materials, StudentPlan
from flows.parquet import write_parquet
from flows.synthetic_rows import SyntheticRows, read_synthetic, release_taxonomy
from generators.backends.hashed import HashedEncoder
from generators.readers.echo import EchoReader
from generators.students import LinearStudent
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.schemas import UTTERANCES

LABELS = ("joy", "fear", "anger")
WORDS = {"joy": "feast", "fear": "wolf", "anger": "insult"}
SETTINGS = EvaluateSettings(n_resamples=50)


def lines(n_rows: int, seed: int, *, informative: bool = True) -> list[tuple[str, str]]:
    """Texts of four words with their labels; where not informative, the telling word is another label's as often."""
    rng = np.random.default_rng(seed)
    fillers = [f"w{n}" for n in range(60)]
    rows = []
    for n in range(n_rows):
        label = LABELS[n % 3]
        told = label if informative else LABELS[int(rng.integers(3))]
        rows.append((" ".join([*rng.choice(fillers, 3), WORDS[told]]), label))
    return rows


def write_release(
    folder: Path,
    rows: Sequence[tuple[str, str]],
    *,
    split: str = "train",
    perceived: Any = lambda label: None,
    realised: bool | None = None,
) -> Path:
    """Write the utterances table of a release, all other columns empty."""
    empty = {pa.string(): "x", pa.int64(): 0, pa.bool_(): False}
    blank = {field.name: None if field.nullable else empty.get(field.type) for field in UTTERANCES}
    table = pa.Table.from_pylist(
        [
            blank
            | {
                "utterance_id": f"u-00000-{n:04d}",
                "text": text,
                "intended": {"label": label, "intensity": 1, "cause": ""},
                "perceived": perceived(label),
                "reader": "echo",
                "realised": realised,
                "split": split,
            }
            for n, (text, label) in enumerate(rows)
        ],
        schema=UTTERANCES,
    )
    path = folder / "data" / "utterances" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, table)
    return folder


def people(rows: Sequence[tuple[str, str]], name: str = "real") -> LabelledTexts:
    targets = np.array([[float(label == one) for one in LABELS] for _, label in rows])
    return LabelledTexts(name, "CC0-1.0", "0" * 64, tuple(text for text, _ in rows), LABELS, targets)


def run(release: SyntheticRows, test: LabelledTexts, **others: Any) -> Evaluation:
    encoder = HashedEncoder()
    plans = [StudentPlan(LinearStudent(encoder), folds=3, samples=2, all_real=True)]
    reader = others.pop("reader", None)
    return evaluate(Materials(release, test, **others), plans, encoder, reader, SETTINGS)


def result(evaluation: Evaluation, trained_on: str, student: str = "linear", targets: str = "hard") -> Result:
    (found,) = (
        one
        for one in evaluation.results
        if (one.trained_on, one.student, one.targets) == (trained_on, student, targets)
    )
    return found


def estimate(one: Result, name: str) -> float:
    interval = one.figures[name]
    assert interval is not None
    assert interval.low <= interval.high
    return interval.estimate


@pytest.fixture
def release(tmp_path: Path) -> SyntheticRows:
    return read_synthetic(write_release(tmp_path / "good", lines(60, seed=1)), LABELS)


def test_a_student_of_informative_rows_beats_the_baselines_and_one_of_noise_does_not(
    release: SyntheticRows, tmp_path: Path
) -> None:
    test = people(lines(90, seed=2))
    good = run(release, test)
    noise = run(read_synthetic(write_release(tmp_path / "n", lines(60, 3, informative=False)), LABELS), test)
    student, majority = result(good, RELEASE), result(good, "nothing", "majority", "none")
    assert estimate(student, "macro_auc") > 0.95
    for rule in ("thresholds", "top_1"):
        assert estimate(student, f"macro_f1.{rule}") > 0.8 > 2 * estimate(majority, f"macro_f1.{rule}")
    assert estimate(result(noise, RELEASE), "macro_auc") < 0.75
    assert estimate(majority, "macro_auc") == 0.5
    assert estimate(majority, "micro_f1.top_1") == pytest.approx(1 / 3)
    assert estimate(result(good, "nothing", "all labels", "none"), "macro_f1.thresholds") == pytest.approx(0.5)
    assert student.rows == 60
    assert student.per_label["joy"].positives == 30


def test_a_planted_copy_is_found_and_dropped(release: SyntheticRows) -> None:
    clean = lines(30, seed=2)
    exact = (f"  {release.texts[7].upper()}!", "anger")
    near = (f"{release.texts[9]} {release.texts[9]}", "fear")
    found = run(release, people([*clean[:3], exact, *clean[3:], near]))
    assert [(one.test_id, one.train_id, one.kind) for one in found.contamination] == [
        ("3", "good/u-00000-0007", "exact"),
        ("31", "good/u-00000-0009", "near"),
    ]
    assert found.contamination[1].similarity >= 0.9
    assert found.test_rows == 30
    without = run(release, people(clean))
    assert result(found, RELEASE).figures == result(without, RELEASE).figures
    assert without.contamination == ()


@pytest.mark.parametrize("rows", [[("a b", "joy"), ("c d", "joy")], [("a b", "joy")]])
def test_test_data_of_one_class_is_refused(release: SyntheticRows, rows: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError, match="only joy: nothing can be told apart"):
        run(release, people(rows))


def test_test_data_left_with_one_class_by_contamination_is_refused(release: SyntheticRows) -> None:
    fear = next(text for text, label in zip(release.texts, release.intended, strict=True) if label[1])
    with pytest.raises(InputError, match="nothing can be told apart"):
        run(release, people([("a b", "joy"), ("c d", "joy"), (fear, "fear")]))


def test_labels_without_test_rows_are_named_and_left_out(release: SyntheticRows) -> None:
    found = run(release, people([row for row in lines(60, seed=2) if row[1] != "anger"]))
    assert found.one_class == found.without_test_rows == ("anger",)
    assert result(found, RELEASE).per_label["anger"].auc is None
    assert estimate(result(found, RELEASE), "macro_auc") > 0.9


def test_labels_that_the_release_lacks_are_named(tmp_path: Path) -> None:
    rows = [row for row in lines(60, seed=1) if row[1] != "fear"]
    found = run(read_synthetic(write_release(tmp_path / "r", rows), LABELS), people(lines(60, seed=2)))
    assert result(found, RELEASE).without_positives == ("fear",)
    assert result(found, RELEASE).per_label["fear"].auc == 0.5
    assert result(found, RELEASE).per_label["fear"].f1 == 0.0


def test_soft_targets_come_from_the_reader(tmp_path: Path, release: SyntheticRows) -> None:
    # a reader that takes fear for anger teaches just that
    heard = {"joy": "joy", "fear": "anger", "anger": "fear"}
    folder = write_release(
        tmp_path / "soft", lines(60, seed=1), perceived=lambda label: [{"label": heard[label], "score": 0.9}]
    )
    found = run(read_synthetic(folder, LABELS), people(lines(90, seed=2)))
    hard, soft = result(found, RELEASE), result(found, RELEASE, targets="soft")
    assert hard.per_label["fear"].auc > 0.9  # type: ignore[operator]
    assert soft.per_label["fear"].auc < 0.3  # type: ignore[operator]
    assert soft.per_label["joy"].auc > 0.9  # type: ignore[operator]
    (difference,) = found.differences
    assert (difference.one, difference.other) == (soft.name, hard.name)
    assert found.readers == ("echo",)
    assert "soft targets of soft" not in found.unavailable
    assert run(release, people(lines(30, seed=2))).unavailable["soft targets of good"] == "60 of 60 rows were not read"


def test_real_rows_are_as_many_and_never_test_rows(release: SyntheticRows) -> None:
    test = lines(60, seed=2)
    found = run(release, people(test), real_train=people([*lines(120, seed=4), *test[:5]]))
    same = result(found, AS_MANY)
    assert (same.rows, same.runs) == (60, 2)
    assert found.real_rows_dropped == 5
    assert result(found, "real, all").rows == 120
    assert next(one.name for one in found.results if one.targets != "none") == "linear on release, hard"
    assert any(one.other == same.name for one in found.differences)


def test_against_another_release(release: SyntheticRows, tmp_path: Path) -> None:
    uneven = [row for row in lines(120, seed=3, informative=False) if row[1] != "joy"] + lines(12, seed=5)[::3]
    other = read_synthetic(write_release(tmp_path / "noise", uneven), LABELS)
    found = run(release, people(lines(90, seed=2)), against=other)
    ours, theirs = result(found, "release matched (good)"), result(found, "against matched (noise)")
    assert ours.rows == theirs.rows == 20 + 20 + 4
    (difference,) = (one for one in found.differences if one.other == theirs.name)
    assert difference.one == ours.name
    auc = difference.figures["macro_auc"]
    assert auc is not None
    assert auc.estimate == pytest.approx(estimate(ours, "macro_auc") - estimate(theirs, "macro_auc"))
    assert auc.low > 0
    # the same release twice makes no difference in any resample
    (none,) = run(release, people(lines(30, seed=2)), against=release).differences
    assert {(one.estimate, one.low, one.high) for one in none.figures.values() if one} == {(0.0, 0.0, 0.0)}


def test_comparisons_without_rows_are_refused(release: SyntheticRows, tmp_path: Path) -> None:
    test = lines(30, seed=2)
    with pytest.raises(InputError, match="0 rows are too few"):
        run(release, people(test), real_train=people(test))
    joy, fear = (
        read_synthetic(write_release(tmp_path / name, [row for row in lines(30, seed=1) if row[1] == name]), LABELS)
        for name in ("joy", "fear")
    )
    with pytest.raises(InputError, match="0 rows are too few"):
        run(joy, people(test), against=fear)


def test_a_reader_is_the_zero_shot_baseline(release: SyntheticRows) -> None:
    found = run(release, people(lines(60, seed=2)), reader=EchoReader(LABELS))
    zero_shot = result(found, "nothing", "zero-shot", "none")
    assert zero_shot.notes == ("echo",)
    assert 0.3 < estimate(zero_shot, "macro_auc") < 0.7
    assert "macro_f1.prior_adjusted" not in zero_shot.figures
    assert "zero-shot" not in found.unavailable


def test_it_is_the_same_every_time_and_survives_json(release: SyntheticRows) -> None:
    test, real = people(lines(60, seed=2)), people(lines(120, seed=4))
    first = run(release, test, real_train=real).as_json()
    assert run(release, test, real_train=real).as_json() == first
    assert json.loads(json.dumps(first, allow_nan=False)) == json.loads(json.dumps(first))
    assert "feast" not in json.dumps(first)  # ids only: the texts may not be ours to show


def test_tables_show_every_result(release: SyntheticRows) -> None:
    found = run(release, people(lines(60, seed=2)), real_train=people(lines(120, seed=4)))
    out = StringIO()
    console = Console(file=out, width=220)
    for table in (results_table(found), differences_table(found), labels_table(found)):
        console.print(table)
    shown = out.getvalue()
    assert all(one.trained_on in shown and one.student in shown for one in found.results)
    assert "2 x 60" in shown
    assert f"{estimate(result(found, RELEASE), 'macro_auc'):.3f}" in shown


def test_splits_and_bad_folders(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r", lines(9, seed=1))
    write_release(folder, [(text, label) for text, label in lines(6, seed=2)], split="test")
    assert len(read_synthetic(folder, LABELS)) == 15
    assert len(read_synthetic(folder, LABELS, "train")) == 9
    with pytest.raises(InputError, match="'anger' of the release is not in the taxonomy"):
        read_synthetic(folder, ("joy", "fear"))
    with pytest.raises(InputError, match="there is no data/utterances"):
        read_synthetic(tmp_path, LABELS)
    with pytest.raises(InputError, match="does not say which taxonomy"):
        release_taxonomy(folder)
    assert "joy" in release_taxonomy(folder, "goemotions").names
    with pytest.raises(InputError, match="neither built in nor a file"):
        release_taxonomy(folder, "goemotion")


def test_rows_that_were_kept_as_misses_teach_nothing(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "r", lines(9, seed=1), realised=True)
    write_release(folder, lines(6, seed=2), split="validation", realised=False)
    assert len(read_synthetic(folder, LABELS)) == 9
