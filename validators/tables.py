# SPDX-License-Identifier: Apache-2.0
"""Summaries of a run for the report and the card: what became of each label, and why rows were lost."""

from collections.abc import Iterable

import pandas as pd

from validators.errors import InputError

COMMONEST = 3  # reasons named for each label: the rest is in the table of reasons


def yield_table(planned: pd.DataFrame, kept: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """Count for each label what was planned, kept and rejected, and name its commonest reasons.

    `planned` and `kept` have the struct `intended`, as PlannedUtterance and Utterance do, or intended_label;
    `rejected` has label and reason, as RejectedRow does. Returns one row for each label of any of the three, by name:
    label, planned, kept, rejected, keep_share (of the planned, null where none was) and reasons, such as
    "too_long 4, not_realised 2".
    """
    counts = pd.DataFrame(
        {"planned": _labels(planned).value_counts(), "kept": _labels(kept).value_counts()}
        | {"rejected": _columns(rejected, "label")["label"].astype(object).value_counts()}
    )
    table = counts.fillna(0).astype("int64").sort_index().rename_axis("label").reset_index()
    table["label"] = table["label"].astype("str")
    table["keep_share"] = table["kept"].astype("float64") / table["planned"].where(table["planned"] > 0)
    reasons = {
        label: _commonest(rows["reason"]) for label, rows in _columns(rejected, "label", "reason").groupby("label")
    }
    table["reasons"] = pd.Series([reasons.get(label, "") for label in table["label"]], index=table.index, dtype="str")
    return table


def reasons_table(rejected: pd.DataFrame) -> pd.DataFrame:
    """Count the rejected rows by stage, gate and reason.

    Returns stage, gate, reason, rows and share (of all rejected rows); the commonest first, equals by name.
    """
    keys = ["stage", "gate", "reason"]
    table = _columns(rejected, *keys).groupby(keys).size().rename("rows").reset_index()
    table["share"] = table["rows"] / max(1, len(rejected))
    return table.sort_values(["rows", *keys], ascending=[False, True, True, True], ignore_index=True)


def _labels(frame: pd.DataFrame) -> pd.Series:
    """Return the intended label of each row."""
    if "intended_label" in frame or "intended" not in frame:
        return _columns(frame, "intended_label")["intended_label"].astype(object)
    return pd.Series([value["label"] for value in frame["intended"]], frame.index, dtype=object)


def _commonest(reasons: Iterable[str]) -> str:
    """Name the commonest reasons with their counts, equals by name."""
    counts = pd.Series(list(reasons), dtype=object).value_counts()
    ranked = sorted(counts.items(), key=lambda item: (-int(item[1]), str(item[0])))
    return ", ".join(f"{reason} {count}" for reason, count in ranked[:COMMONEST])


def _columns(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return the named columns; a frame without rows need not have them."""
    absent = [name for name in names if name not in frame]
    if absent and len(frame):
        raise InputError(f"a table of {len(frame)} rows lacks the columns {', '.join(absent)}", where="summary tables")
    return frame.reindex(columns=list(names)).astype(object)
