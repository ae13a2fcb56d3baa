# SPDX-License-Identifier: Apache-2.0
"""The summaries count every row once, in an order that the order of rows does not change."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from validators.errors import InputError
from validators.schemas import REJECTED
from validators.tables import reasons_table, yield_table


def written(*labels: str) -> pd.DataFrame:
    return pd.DataFrame({"intended": [{"label": label, "intensity": 1, "cause": ""} for label in labels]})


def rejected(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Rejected rows of label, gate and reason."""
    records = [
        {
            "planned_id": f"u-00000-{number:04}",
            "stage": "utterances" if gate != "duplicates" else "duplicates",
            "gate": gate,
            "reason": reason,
            "detail": "",
            "label": label,
            "attempt": 1,
            "seed": 0,
            "reply": "",
        }
        for number, (label, gate, reason) in enumerate(rows)
    ]
    return pa.Table.from_pylist(records, schema=REJECTED).to_pandas()


LOST = rejected(
    ("joy", "length", "too_long"),
    ("joy", "length", "too_long"),
    ("joy", "duplicates", "near"),
    ("joy", "language", "wrong_language"),
    ("joy", "form", "names_its_label"),
    ("fear", "length", "too_long"),
)


def test_yield_counts_by_label():
    table = yield_table(written(*["joy"] * 8, *["fear"] * 2, "calm"), written(*["joy"] * 3, "fear"), LOST)
    assert list(table.columns) == ["label", "planned", "kept", "rejected", "keep_share", "reasons"]
    assert table.to_dict("records")[1:] == [
        {"label": "fear", "planned": 2, "kept": 1, "rejected": 1, "keep_share": 0.5, "reasons": "too_long 1"},
        {
            "label": "joy",
            "planned": 8,
            "kept": 3,
            "rejected": 5,
            "keep_share": 0.375,
            "reasons": "too_long 2, names_its_label 1, near 1",
        },
    ]
    assert table.iloc[0].to_dict() == {
        "label": "calm",
        "planned": 1,
        "kept": 0,
        "rejected": 0,
        "keep_share": 0.0,
        "reasons": "",
    }
    assert table["planned"].dtype == table["kept"].dtype == table["rejected"].dtype == np.int64


def test_yield_does_not_depend_on_the_order_of_rows():
    planned, kept = written("joy", "fear", "joy", "calm"), written("fear", "calm")
    table = yield_table(planned, kept, LOST)
    pd.testing.assert_frame_equal(table, yield_table(planned[::-1], kept[::-1], LOST[::-1]))
    flat = pd.DataFrame({"intended_label": ["calm", "fear"]})
    pd.testing.assert_frame_equal(table, yield_table(planned, flat, LOST))


def test_a_label_that_was_never_planned_has_no_share():
    table = yield_table(written("joy"), written("joy"), rejected(("dread", "length", "too_long")))
    assert table["label"].tolist() == ["dread", "joy"]
    assert table["planned"].tolist() == [0, 1]
    assert table["keep_share"].isna().tolist() == [True, False]


def test_reasons_are_counted_commonest_first():
    table = reasons_table(LOST)
    assert list(table.columns) == ["stage", "gate", "reason", "rows", "share"]
    assert table["reason"].tolist() == ["too_long", "near", "names_its_label", "wrong_language"]
    assert table["rows"].tolist() == [3, 1, 1, 1]
    assert table["share"].tolist() == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])
    pd.testing.assert_frame_equal(table, reasons_table(LOST[::-1]))


def test_empty_tables_give_empty_summaries():
    empty = pd.DataFrame()
    assert yield_table(empty, empty, empty).empty
    assert list(reasons_table(empty).columns) == ["stage", "gate", "reason", "rows", "share"]
    assert yield_table(written("joy"), empty, empty).to_dict("records") == [
        {"label": "joy", "planned": 1, "kept": 0, "rejected": 0, "keep_share": 0.0, "reasons": ""}
    ]


def test_rows_without_the_columns_are_refused():
    with pytest.raises(InputError, match="gate, reason"):
        reasons_table(LOST.drop(columns=["gate", "reason"]))
    with pytest.raises(InputError, match="intended_label"):
        yield_table(pd.DataFrame({"label": ["joy"]}), written("joy"), LOST)
