# SPDX-License-Identifier: Apache-2.0
"""Engines that share cores: never two at once, each together with itself, and none waits for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from generators.backends.taking_turns import Room

N_WORKERS = 4
N_ENTRIES = 12


def stay(room, group, seen, lock, hold_s):
    with room.of(group):
        with lock:
            seen.append(("in", group))
        time.sleep(hold_s)
        with lock:
            seen.append(("out", group))


@pytest.mark.parametrize("patience_s", [0.0, 0.02, 5.0])
def test_only_one_group_is_inside_and_all_come_in(patience_s):
    room, lock = Room(patience_s), threading.Lock()
    seen: list[tuple[str, str]] = []
    with ThreadPoolExecutor(2 * N_WORKERS) as pool:
        futures = [
            pool.submit(stay, room, group, seen, lock, 0.002) for _ in range(N_ENTRIES) for group in ("small", "large")
        ]
        for future in futures:
            future.result(timeout=30)
    inside = {"small": 0, "large": 0}
    for what, group in seen:
        inside[group] += 1 if what == "in" else -1
        assert not (inside["small"] and inside["large"])
    assert len(seen) == 4 * N_ENTRIES


def test_members_of_a_group_are_inside_together():
    room, together = Room(), threading.Barrier(N_WORKERS, timeout=10)

    def meet():
        with room.of("large"):
            together.wait()

    with ThreadPoolExecutor(N_WORKERS) as pool:
        for future in [pool.submit(meet) for _ in range(N_WORKERS)]:
            future.result(timeout=20)


def test_a_group_that_is_never_empty_lets_others_in_after_a_while():
    """Two workers overlap without end, so that the room is never empty by itself."""
    room, stop = Room(patience_s=0.05), threading.Event()

    def hold_on():
        while not stop.is_set():
            with room.of("large"):
                time.sleep(0.01)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            pool.submit(hold_on)
        time.sleep(0.05)
        entered = threading.Event()

        def visit():
            with room.of("small"):
                entered.set()

        pool.submit(visit)
        came_in = entered.wait(timeout=10)
        stop.set()
    assert came_in


def test_whoever_fails_inside_leaves():
    room = Room()
    with pytest.raises(ValueError, match="broken"), room.of("large"):
        raise ValueError("broken")
    with room.of("small"):
        pass
