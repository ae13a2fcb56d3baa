# SPDX-License-Identifier: Apache-2.0
"""A good release passes; each defect fails under the name of its check, and no judgement repeats the text of a row."""

import json
import tempfile
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from validators.schemas import REJECTED, UTTERANCES
from validators.suite_checks import ReleaseBounds
from validators.suites import ReleaseJudgement, judge_tables

LABELS = ("joy", "fear", "neutral")
N_KEPT = 12
N_REJECTED = 3
SECRET = "She never told anyone"

BOUNDS = ReleaseBounds(
    labels=LABELS,
    columns=tuple(UTTERANCES.names),
    required=tuple(field.name for field in UTTERANCES if not field.nullable),
    planned_rows=N_KEPT + N_REJECTED,
    min_kept_rows=10,
    min_labels=3,
    max_rejected_share=0.25,
    max_reason_share=0.15,
)


def utterance(number: int) -> dict[str, Any]:
    label = LABELS[number % 3]
    return {
        "utterance_id": f"u-{number // 4:05}-{number:04}",
        "story_id": f"s-{number // 4:012x}",
        "title": "The ferry",
        "section": 0,
        "character": "Ada",
        "text": f"{SECRET}, and the boat left without us at {number}.",
        "language": "en",
        "intended": {"label": label, "intensity": None if label == "neutral" else 1 + number % 2, "cause": "a delay"},
        "attempts": 1,
        "writer": "echo",
        "writer_licence": "apache-2.0",
        "prompt_sha256": "0" * 64,
        "seed": number,
        "split": ("train", "validation", "test")[number // 4],
        "source": "own",
        "source_licence": "cc0-1.0",
    }


def rejected_row(number: int) -> dict[str, Any]:
    return {
        "planned_id": f"u-00099-{number:04}",
        "stage": "utterances",
        "gate": ("length", "length", "language")[number],
        "reason": ("too_long", "too_long", "wrong_language")[number],
        "detail": "",
        "label": "joy",
        "attempt": 1,
        "seed": number,
        "reply": SECRET,
    }


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    kept = pa.Table.from_pylist([utterance(number) for number in range(N_KEPT)], schema=UTTERANCES)
    rejected = pa.Table.from_pylist([rejected_row(number) for number in range(N_REJECTED)], schema=REJECTED)
    return kept.to_pandas(), rejected.to_pandas()


def names(judgement: ReleaseJudgement) -> set[str]:
    """Return the names of the failed checks."""
    return {failure.split(": ")[0] for failure in judgement.failures}


def changed(row: int, **values: Any) -> pd.DataFrame:
    frame = tables()[0].astype(object)
    for column, value in values.items():
        frame.at[row, column] = value
    return frame


def intended(label: Any, intensity: Any) -> dict[str, Any]:
    return {"label": label, "intensity": intensity, "cause": "a delay"}


def test_a_good_table_passes_and_says_so_in_plain_json(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    kept, rejected = tables()
    before = kept.copy()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))  # a temporary file or folder would fail
        judgement = judge_tables(kept, rejected, BOUNDS)
    assert judgement.success, judgement.failures
    assert judgement.failures == ()
    assert {tuple(entry) for entry in judgement.summary} == {
        ("check", "expectation", "column", "success", "observed", "unexpected_count")
    }
    checks = [entry["check"] for entry in judgement.summary]
    assert len(set(checks)) == len(checks) > 30
    plain = json.dumps([judgement.summary, judgement.details], allow_nan=False)
    assert SECRET not in plain
    assert judge_tables(kept, rejected, BOUNDS) == judgement
    pd.testing.assert_frame_equal(kept, before)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")  # no progress bars


@pytest.mark.parametrize(
    ("row", "values", "check"),
    [
        (1, {"utterance_id": "u-00000-0000"}, "utterance_id_unique"),
        (1, {"utterance_id": "u-1-1"}, "utterance_id_form"),
        (1, {"intended": intended("bliss", 1)}, "label_known"),
        (1, {"intended": intended(None, 1)}, "label_present"),
        (1, {"intended": None}, "intended_present"),
        (1, {"intended": intended("joy", 3)}, "intensity_known"),
        (1, {"intended": intended("joy", None)}, "intensity_present"),
        (4, {"split": "train"}, "one_split_per_story"),
        (4, {"split": "dev"}, "split_known"),
        (1, {"text": None}, "text_present"),
        (1, {"text": " "}, "text_not_blank"),
        (1, {"text": SECRET * 100}, "text_length"),
        (1, {"intended": intended("joy", [1])}, "intensity_known"),
        (1, {"source_licence": "unknown"}, "source_licence_known"),
        (1, {"writer_licence": ""}, "writer_licence_known"),
        (1, {"utterance_id": "u-00099-0000"}, "one_end_per_planned_row"),
    ],
)
def test_a_bad_row_fails_the_check_that_names_it(row, values, check):
    judgement = judge_tables(changed(row, **values), tables()[1], BOUNDS)
    assert not judgement.success
    assert check in names(judgement)
    assert SECRET not in json.dumps([judgement.failures, judgement.summary, judgement.details])
    failed = {entry["check"] for entry in judgement.summary if not entry["success"]}
    assert failed == names(judgement)


def test_a_failure_names_the_offending_ids():
    judgement = judge_tables(changed(5, text=None), tables()[1], BOUNDS)
    assert judgement.failures == ("text_present: 1 rows, first u-00001-0005",)
    judgement = judge_tables(changed(4, split="train"), tables()[1], BOUNDS)
    assert judgement.failures == ("one_split_per_story: 2 rows, first s-000000000001",)


def test_an_empty_table_fails():
    kept, rejected = tables()
    bounds = replace(BOUNDS, min_kept_rows=0, min_labels=0, planned_rows=0)
    judgement = judge_tables(kept.head(0), rejected.head(0), bounds)
    assert {"kept_rows", "labels_reached"} <= names(judgement)
    assert not judge_tables(pd.DataFrame(), pd.DataFrame(), bounds).success


@pytest.mark.parametrize("column", ["text", "utterance_id", "story_id", "split", "intended", "writer_licence"])
def test_a_missing_column_fails_by_name(column):
    kept, rejected = tables()
    judgement = judge_tables(kept.drop(columns=column), rejected, BOUNDS)
    assert f"columns: missing ['{column}'], unknown []" in judgement.failures
    assert f"{column}_present: the column is absent" in judgement.failures


def test_other_columns_and_another_order_fail():
    kept, rejected = tables()
    judgement = judge_tables(kept.assign(mood=1), rejected, BOUNDS)
    assert judgement.failures == ("columns: missing [], unknown ['mood']",)
    judgement = judge_tables(kept[kept.columns[::-1]], rejected, BOUNDS)
    assert judgement.failures == ("columns: in another order",)


def test_wrong_counts_fail():
    kept, rejected = tables()
    assert names(judge_tables(kept.head(11), rejected, BOUNDS)) == {"rows_accounted_for"}
    assert "kept_rows" in names(judge_tables(kept.head(9), rejected, BOUNDS))
    assert names(judge_tables(kept, rejected, replace(BOUNDS, min_labels=4))) == {"labels_reached"}


def test_shares_of_the_planned_rows_are_bounded():
    kept, rejected = tables()
    judgement = judge_tables(kept, rejected, replace(BOUNDS, max_reason_share=0.1))
    assert names(judgement) == {"reason_share:length/too_long"}
    assert judgement.failures[0].startswith("reason_share:length/too_long: 0.13")
    assert names(judge_tables(kept, rejected, replace(BOUNDS, max_rejected_share=0.19))) == {"rejected_share"}


def test_no_rejected_rows_need_no_columns():
    bounds = replace(BOUNDS, planned_rows=N_KEPT)
    assert judge_tables(tables()[0], pd.DataFrame(), bounds).success
