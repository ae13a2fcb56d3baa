# SPDX-License-Identifier: Apache-2.0
"""A budget that ends: no further shard is begun, what was made is a whole release that says why it is short, the same
budget again asks nothing, and a larger one goes on from there."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.shards_at_once import LEAST
from tests.faults.victims import Case, new_case

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

SHARD_ROWS = 4
MOST_CALLS = 4 * SHARD_ROWS  # of a shard: four candidates for each row; no context is asked for
SMALL = (f"shard_rows={SHARD_ROWS}", "utterances.contextual_rows=0")


def told(case: Case, *settings: str) -> dict[str, Any]:
    ended = case.start("", *SMALL, *settings).wait()
    assert ended.code == 0, ended.text
    summary: dict[str, Any] = json.loads(ended.text.splitlines()[-1])
    return summary


@pytest.mark.parametrize("budget", ["budget.calls=70", "budget.tokens=24000"])
def test_it_stops_with_what_it_has_and_goes_on_with_more(tmp_path: Path, budget: str) -> None:
    case = new_case(tmp_path)
    first = told(case, budget)
    n_calls = case.n_calls
    assert 0 < first["kept"] < 40
    assert any("the budget of" in why for why in first["short"].values())
    assert case.problems() == []
    if "calls" in budget:
        assert n_calls <= 70 + LEAST * MOST_CALLS  # shards that are begun are finished
    assert told(case, budget)["kept"] == first["kept"]
    assert case.n_calls == n_calls
    last = told(case)
    assert last["planned"] == last["kept"] + last["rejected"]
    assert last["kept"] > first["kept"]
    assert case.repeated == 0
    assert case.problems() == []


def test_killed_within_its_budget_a_run_does_not_spend_it_twice(tmp_path: Path) -> None:
    case = new_case(tmp_path)
    case.start("after_store:65:kill", *SMALL, "budget.calls=70").wait()
    assert case.n_calls >= 65
    told(case, "budget.calls=70")
    assert case.n_calls <= 70 + LEAST * MOST_CALLS + 4
    assert case.problems() == []
