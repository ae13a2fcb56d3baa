# SPDX-License-Identifier: Apache-2.0
"""A backend that answers rubbish to everything: the run stops after the first shards with the reason and the share,
spends little, writes no release, and ends with a code other than 0."""

from pathlib import Path

import pytest

from tests.faults.replies import answer_lines
from tests.faults.victims import new_case
from tests.flows.builds import build_in_turn, write_recipe
from validators.errors import GateError, InputError

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

GARBAGE = f"writer.options={{faults: {{garbage: 1.0}}, delay_s: {0.002}}}"


@pytest.mark.parametrize("rows", [400, 4000])
def test_it_stops_early_whatever_is_asked_for(tmp_path: Path, rows: int) -> None:
    case = new_case(tmp_path, rows=rows)
    ended = case.start("", GARBAGE).wait()
    assert ended.code in {1, 2}, ended.text
    assert "next:" in ended.text
    assert "Traceback" not in ended.text
    assert case.n_calls < 60
    assert not (case.output / "manifest.json").exists()


def test_rubbish_for_lines_alone_stops_after_the_first_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_lines(monkeypatch, lambda number, request, good: "I'd rather not.")
    with pytest.raises(GateError, match="were rejected for 'unparsable'") as stop:
        build_in_turn(write_recipe(tmp_path, rows=4000), tmp_path / "out")
    assert "max_reason_share" in str(stop.value)
    assert "rejected-" in stop.value.where
    assert len(asked) <= 4 * 16 * 3  # four candidates for each row of three shards
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_row_at_all_is_no_success(tmp_path: Path) -> None:
    strict = "gates={min_words: 44, max_words: 45, max_reason_share: 1.0}"
    with pytest.raises((GateError, InputError)):
        build_in_turn(write_recipe(tmp_path, rows=12), tmp_path / "out", strict)
    assert not (tmp_path / "out" / "manifest.json").exists()
