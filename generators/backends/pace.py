# SPDX-License-Identifier: Apache-2.0
"""How many calls a server gets at a time: fewer when it says 429, more while it answers.

Additive increase, multiplicative decrease, as TCP does it. A 429 pauses everyone, not only its own request, so that
a rate limit costs a few calls and not a few calls per request. The first call goes alone, whatever comes of it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to make one call, given in a round; a 429 ends the round."""

    round: int


class Pace:
    """Gives out leave to call; lives on one event loop. Every `enter` is followed by exactly one of the exits."""

    def __init__(self, most: int, most_again: int, sleep: Sleep) -> None:
        self.limit = most
        self.asking_again = 0
        """Requests that failed at least once and have not ended. From `most_again` on no new request begins, so that a
        server that is down is asked about few requests and not about all of them."""
        self.storm = 0
        """Rounds that ended with 429 since the last success."""
        self._most = most
        self._most_again = most_again
        self._sleep = sleep
        self._round = 0
        self._in_flight = 0
        self._knocked = False  # whether the first call is over: a wrong key is then told once, and not once a slot
        self._successes = 0
        self._again: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()
        self._pause: asyncio.Task[None] | None = None
        self._giving = False

    async def enter(self, *, again: bool) -> Ticket:
        """Wait for leave to call; a request that asks again goes before those that have not asked yet."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._again if again else self._new).append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # leave was given and is not used
                self.leave()
            raise
        return Ticket(self._round)

    def leave(self) -> None:
        """End a call that says nothing about the server's load."""
        self._knocked = True
        self._in_flight -= 1
        self._wake()

    def begin_again(self) -> None:
        """Count a request that failed for the first time; `end_again` must follow."""
        self.asking_again += 1

    def end_again(self) -> None:
        """Count a request that had failed and has ended, one way or the other."""
        self.asking_again -= 1
        self._wake()

    def succeed(self) -> None:
        """End a call that was answered; `limit` of them in a row raise the limit by one."""
        self.storm = 0
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit = min(self._most, self.limit + 1)
        self.leave()

    def slow_down(self, ticket: Ticket, wait_s: float) -> None:
        """End a call that got 429: halve the limit and pause everyone, once for all calls of a round."""
        if ticket.round == self._round:
            self._round += 1
            self.storm += 1
            self._successes = 0
            self.limit = max(1, self.limit // 2)
            if self._pause is not None:
                self._pause.cancel()
            self._pause = asyncio.get_running_loop().create_task(self._rest(wait_s))
        self.leave()

    def close(self) -> None:
        """Give no more leave: a pause that is cancelled does not end."""
        if self._pause is not None:
            self._pause.cancel()

    async def _rest(self, wait_s: float) -> None:
        await self._sleep(wait_s)
        self._pause = None
        self._wake()

    def _wake(self) -> None:
        """Have the next turn given, if there is room for one."""
        if not self._giving and self._has_room():
            self._giving = True
            asyncio.get_running_loop().call_soon(self._give_turn)

    def _has_room(self) -> bool:
        return self._pause is None and self._in_flight < (self.limit if self._knocked else 1)

    def _give_turn(self) -> None:
        """Give one turn. The next is given once this call is on its way: calls that are begun together are answered
        together, and then wait for one another, time and again."""
        self._giving = False
        if not self._has_room():
            return
        if self._again:
            turn = self._again.popleft()
        elif self._new and self.asking_again < self._most_again:
            turn = self._new.popleft()
        else:
            return
        if not turn.done():  # else its request was dropped
            self._in_flight += 1
            turn.set_result(None)
        self._wake()
