# SPDX-License-Identifier: Apache-2.0
"""Killed between a reply and its being stored: the calls that were not stored are made once more, and no other; the
summary counts what was paid for over all starts."""

import json
import signal
from pathlib import Path

import pytest

from flows.reply_store import ReplyStore
from tests.faults.victims import SLOTS, Case, new_case

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Case:
    case = new_case(tmp_path_factory.mktemp("whole"))
    assert case.build().code == 0
    return case


@pytest.mark.parametrize("at_call", [1, 40])
def test_only_what_was_not_stored_is_asked_again(whole: Case, tmp_path: Path, at_call: int) -> None:
    case = new_case(tmp_path)
    assert case.build(f"after_reply_before_store:{at_call}:kill").code == -signal.SIGKILL
    with ReplyStore(case.output / "work" / "replies.sqlite") as store:
        stored = store.spent().calls
    in_flight = case.n_calls - stored
    assert stored == at_call - 1
    assert 1 <= in_flight <= SLOTS
    ended = case.build()
    assert ended.code == 0, ended.text
    assert case.repeated == in_flight
    assert case.n_calls == whole.n_calls + in_flight
    usage = json.loads(ended.text.splitlines()[-1])["usage"]
    assert usage["calls_of_all_commands"] == whole.n_calls
    assert usage["calls"] == whole.n_calls - stored
    assert case.manifest == whole.manifest
