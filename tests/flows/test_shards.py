# SPDX-License-Identifier: Apache-2.0
"""How many shards are at work at a time, and which may begin when a budget ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from flows.shards import Shards, Turn
from flows.shards_at_once import LEAST, MOST, Budgeted, at_once
from generators.conversations import FEW_SLOTS, Slots, side_by_side
from tests.benchmarks.bench_shards import TimerChat, talks


@pytest.mark.parametrize(
    ("slots", "shard_rows", "expected"),
    [(4, 1, 2), (8, 64, 2), (32, 64, 3), (256, 50, 17), (256, 1000, 2), (1024, 1, MOST)],
)
def test_shards_hold_three_times_the_rows_that_slots_take(slots, shard_rows, expected):
    assert at_once(slots, shard_rows) == expected


def test_an_engine_of_few_slots_keeps_two_whatever_the_shards():
    assert {at_once(slots, rows) for slots in range(1, FEW_SLOTS + 1) for rows in (1, 6, 64)} == {LEAST}


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

    run = SimpleNamespace(stopping=threading.Event(), shards_at_once={"utterances": 3, "speech": 8})
    work = Shards("utterances", range(12), done=lambda index: None, make=make)
    turn = Turn(run, work)  # type: ignore[arg-type]
    turn.end = lambda record: None  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(turn.make, work.indexes))
    assert most == 3


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
