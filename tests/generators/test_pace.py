# SPDX-License-Identifier: Apache-2.0
import asyncio

from generators.backends.pace import Pace


def test_calls_are_begun_one_after_the_other_and_not_all_in_one_turn_of_the_loop():
    assert asyncio.run(_begun(calls=8, slots=8)) == 8


def test_no_more_calls_are_in_flight_than_there_are_slots():
    assert asyncio.run(_begun(calls=8, slots=3)) == 3


async def _begun(calls: int, slots: int) -> int:
    """How many calls are begun of those asked for at once; fails if two begin in the same turn of the loop."""
    loop, pace, turn = asyncio.get_running_loop(), Pace(slots, 10, asyncio.sleep), 0
    await pace.enter(again=False)
    pace.leave()  # the first goes alone

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    async def call() -> None:
        await pace.enter(again=False)
        begun.append(turn)

    begun: list[int] = []
    count()
    asked = [asyncio.create_task(call()) for _ in range(calls)]
    while turn < 10 * calls:
        await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    assert len(set(begun)) == len(begun)
    return len(begun)
