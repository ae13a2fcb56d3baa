# SPDX-License-Identifier: Apache-2.0
"""Killed after a file took its place and before its done-record: the shard is made again to the same bytes, no row is
doubled, and finished shards are not touched."""

import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.sealed import unseal
from tests.faults.victims import Case, new_case

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Case:
    case = new_case(tmp_path_factory.mktemp("whole"))
    assert case.build().code == 0
    return case


@pytest.mark.parametrize("moment", ["after_rename:5", "before_done:4"])
def test_what_has_no_record_is_made_again_to_the_same_bytes(whole: Case, tmp_path: Path, moment: str) -> None:
    case = new_case(tmp_path)
    assert case.build(f"{moment}:kill").code == -signal.SIGKILL
    open_shards = [
        path for path in case.output.glob("work/*/part-*.parquet") if not path.with_suffix(".done.json").exists()
    ]
    assert open_shards
    left = {path: path.read_bytes() for path in open_shards}
    assert case.build().code == 0
    assert case.problems() == []
    assert case.manifest == whole.manifest
    assert {path: path.read_bytes() for path in open_shards} == left
    for record in case.output.glob("work/*/part-*.done.json"):
        told = unseal(record.read_bytes())
        assert told["planned"] == told["kept"] + told["rejected"]  # type: ignore[operator]


def test_a_killed_build_repeats_only_what_was_in_flight(whole: Case, tmp_path: Path) -> None:
    case = new_case(tmp_path)
    assert case.build("after_store:60:kill").code == -signal.SIGKILL
    assert case.build().code == 0
    assert case.n_calls - case.repeated == whole.n_calls
    assert case.repeated <= 4
    assert sum(pq.read_table(path).num_rows for path in case.output.glob("data/utterances/*.parquet")) > 0
