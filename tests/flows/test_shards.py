# SPDX-License-Identifier: Apache-2.0
"""How many shards are at work at a time, and which may begin when a budget ends."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from flows.runners import side_by_side as shards_beside
from flows.runs import StoppedError
from flows.shards import Shards, Turn
from flows.shards_at_once import LEAST, MOST, Budgeted, at_once
from generators.conversations import FEW_SLOTS, Slots, side_by_side
from tests.benchmarks.bench_shards import TimerChat, talks
from validators.errors import GateError


@pytest.mark.parametrize(
    ("slots", "shard_rows", "expected"),
    [(4, 1, 2), (8, 64, 2), (32, 64, 3), (256, 50, 17), (256, 1000, 2), (1024, 1, MOST)],
)
def test_shards_hold_three_times_the_rows_that_slots_take(slots, shard_rows, expected):
    assert at_once(slots, shard_rows) == expected


def test_an_engine_of_few_slots_keeps_two_whatever_the_shards():
    assert {at_once(slots, rows) for slots in range(1, FEW_SLOTS + 1) for rows in (1, 6, 64)} == {LEAST}


class Submitted(Future):
    """A task that a pool works on, with the name by which Prefect's tasks are told apart."""

    def __init__(self, pool, work, index):
        super().__init__()
        self.task_run_id = f"task {index}"
        pool.submit(self._make, work, index)

    def _make(self, work, index):
        try:
            self.set_result(work(index))
        except GateError as error:
            self.set_exception(error)


def made_side_by_side(make, shards, *, capacity, run=None):
    at: Any = run or SimpleNamespace(stopping=threading.Event())
    turn = Turn(at, Shards("utterances", shards, done=lambda index: None, make=make))
    ended = []
    with ThreadPoolExecutor(8) as pool:
        shards_beside(
            turn,
            capacity=lambda: capacity,
            submit=lambda index: Submitted(pool, make, index),
            end=lambda index, future: ended.append((index, future.result())),
        )
    return ended


def test_so_many_shards_are_at_work_and_no_more():
    at_work, most, lock = 0, 0, threading.Lock()

    def make(index):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.02)
        with lock:
            at_work -= 1
        return index

    ended = made_side_by_side(make, range(12), capacity=3)
    assert sorted(ended) == [(index, index) for index in range(12)]
    assert most == 3


def test_the_failure_of_one_shard_begins_no_further_one():
    begun = []

    def make(index):
        begun.append(index)
        if index == 1:
            raise GateError("broken")
        return index

    with pytest.raises(GateError, match="broken"):
        made_side_by_side(make, range(100), capacity=2)
    assert len(begun) < 10


def test_a_run_that_was_stopped_elsewhere_makes_nothing_of_what_is_not_done():
    run = SimpleNamespace(stopping=threading.Event())

    def make(index):
        run.stopping.set()
        return index

    with pytest.raises(StoppedError):
        made_side_by_side(make, range(100), capacity=1, run=run)


def test_ctrl_c_stops_those_that_are_at_work():
    run: Any = SimpleNamespace(stopping=threading.Event())

    begun = []

    def make(index):
        begun.append(index)

    def capacity():
        if begun:
            raise KeyboardInterrupt
        return 1

    turn = Turn(run, Shards("utterances", range(3), done=lambda index: None, make=make))
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        shards_beside(turn, capacity=capacity, submit=lambda index: Submitted(pool, make, index), end=print)
    assert run.stopping.is_set()


def test_no_shard_is_refused_after_a_later_one_was_begun():
    reason = ""
    budget = Budgeted(lambda: reason)
    assert not budget.refuses(0)
    assert not budget.refuses(2)
    reason = "the budget of 5 calls is spent"
    assert not budget.refuses(1)
    assert budget.reason == ""
    assert budget.refuses(3)
    assert budget.reason == reason
    reason = ""
    assert budget.refuses(4)  # what was refused once stays so


def test_small_shards_fill_the_slots_only_side_by_side():
    def busy(shards):
        chat, slots = TimerChat(scale_s=0.01), Slots(64)
        with ThreadPoolExecutor(shards) as pool:
            list(pool.map(lambda n: list(side_by_side(talks(16, seed=n), chat.submit, slots)), range(24)))
        chat.close()
        return chat.most

    assert busy(2) <= 32
    assert busy(at_once(64, 16)) == 64
