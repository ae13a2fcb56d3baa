# SPDX-License-Identifier: Apache-2.0
"""How full shards keep an engine whose answers take unequal times: two at a time, and as many as flows/shards.py says.

    python -m tests.benchmarks.bench_shards [--slots 256] [--shard-rows 50] [--scale 0.1]

Rows of 1 to 6 requests go through side_by_side, shard by shard in threads, as in a run; the engine answers after a
lognormal time (sigma 0.6, median `--scale` seconds). `busy` is the share of slots that were in use, from the first
request until the last shard was begun: what follows is the end of the stage, which no number of shards fills.
"""

import argparse
import heapq
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from flows.shards_at_once import at_once
from generators.chat import ChatReply, ChatRequest, Message
from generators.conversations import Conversation, Slots, ask, side_by_side

SHARDS = 60


class TimerChat:
    """Answers each request after a time of its own, drawn by its seed, and notes how many it held at most."""

    def __init__(self, scale_s: float) -> None:
        self.most = 0
        self._scale_s = scale_s
        self._due: list[tuple[float, int, Future[ChatReply]]] = []
        self._changed = threading.Condition()
        self._held_s = 0.0
        self._since_s = time.monotonic()
        self._closed = False
        self._n = 0
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        future: Future[ChatReply] = Future()
        takes_s = self._scale_s * random.Random(request.seed).lognormvariate(0, 0.6)
        with self._changed:
            self._note()
            self._n += 1
            heapq.heappush(self._due, (time.monotonic() + takes_s, self._n, future))
            self.most = max(self.most, len(self._due))
            self._changed.notify()
        return future

    def held_s(self) -> float:
        """Sum over requests of the seconds that they were here so far."""
        with self._changed:
            self._note()
            return self._held_s

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _note(self) -> None:
        now_s = time.monotonic()
        self._held_s += len(self._due) * (now_s - self._since_s)
        self._since_s = now_s

    def _answer(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closed:
                    return
                self._note()
                _, _, future = heapq.heappop(self._due)
            future.set_result(ChatReply("yes", "stop", 10, 1))


def talks(n_rows: int, seed: int) -> Iterator[Conversation[None]]:
    """Make rows of 1 to 6 requests."""

    def talk(row: int) -> Conversation[None]:
        for step in range(random.Random(row).randint(1, 6)):
            message = Message("user", f"{row} {step}")
            yield from ask(ChatRequest((message,), None, max_tokens=9, temperature=0, seed=10 * row + step))

    return (talk(seed * 10_000 + number) for number in range(n_rows))


def measure(slots: int, shard_rows: int, shards: int, scale_s: float) -> dict[str, float]:
    """Make the shards of a stage, so many at a time."""
    chat, leased = TimerChat(scale_s), Slots(slots)
    began_s = time.monotonic()
    last: list[tuple[float, float]] = []

    def make(number: int) -> None:
        if number == SHARDS - 1:
            last.append((time.monotonic(), chat.held_s()))
        for _ in side_by_side(talks(shard_rows, seed=number), chat.submit, leased):
            pass

    with ThreadPoolExecutor(shards) as pool:
        list(pool.map(make, range(SHARDS)))
    chat.close()
    until_s, held_s = last[0]
    return {"shards": shards, "busy": round(held_s / (slots * (until_s - began_s)), 3)}


def main() -> None:
    """Print a line for two shards at a time, and one for as many as are derived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--shard-rows", type=int, default=50)
    parser.add_argument("--scale", type=float, default=0.1)
    options = parser.parse_args()
    for shards in (2, at_once(options.slots, options.shard_rows)):
        print(json.dumps(measure(options.slots, options.shard_rows, shards, options.scale)), flush=True)


if __name__ == "__main__":
    main()
