# SPDX-License-Identifier: Apache-2.0
"""How busy the engines of a run are: time with work in them, requests in flight, cost of each kind of question."""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from generators.chat import ChatReply, ChatRequest
from generators.prompts import prompt_name

OTHER = "other"
"""Requests that come from none of our prompts."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much work engines had: `busy_s` with at least one request in flight, `slot_s` summed over those in flight."""

    busy_s: float = 0.0
    slot_s: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(self.busy_s + other.busy_s, self.slot_s + other.slot_s)

    def __sub__(self, other: "Load") -> "Load":
        return Load(self.busy_s - other.busy_s, self.slot_s - other.slot_s)


@dataclass(frozen=True, slots=True)
class Cost:
    """What was asked of one kind, in calls, tokens and seconds from question to answer."""

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.calls + other.calls,
            self.failed + other.failed,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.latency_s + other.latency_s,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A request on its way: its kind, when it went out, and with how many in flight, itself among them."""

    kind: str
    began_s: float
    beside: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered request: how long it took, and with how many at least in flight, as it began or as it ended."""

    kind: str
    latency_s: float
    beside: int
    prompt_tokens: int
    completion_tokens: int


class EngineMeter:
    """Counts requests in flight on all engines of a run together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._since_s = 0.0
        self._load = Load()
        self._costs: dict[str, Cost] = {}
        self.samples: list[Sample] | None = None
        """Every answer in its order, where a list is put here: a probe wants them, a run would fill the memory."""

    def enter(self, request: ChatRequest) -> Question:
        """Note that a request goes to an engine."""
        now_s = time.monotonic()
        with self._lock:
            self._count(now_s)
            self._in_flight += 1
            beside = self._in_flight
        return Question(prompt_name(request) or OTHER, now_s, beside)

    def leave(self, question: Question, reply: ChatReply | None) -> None:
        """Note what came of it; None where nothing did."""
        now_s = time.monotonic()
        with self._lock:
            self._count(now_s)
            if reply is not None and self.samples is not None:
                self.samples.append(
                    Sample(
                        question.kind,
                        now_s - question.began_s,
                        min(question.beside, self._in_flight),
                        reply.prompt_tokens,
                        reply.completion_tokens,
                    )
                )
            self._in_flight -= 1
            self._costs[question.kind] = self._costs.get(question.kind, Cost()) + Cost(
                calls=1,
                failed=int(reply is None),
                prompt_tokens=reply.prompt_tokens if reply else 0,
                completion_tokens=reply.completion_tokens if reply else 0,
                latency_s=now_s - question.began_s,
            )

    @property
    def load(self) -> Load:
        """The work up to now."""
        with self._lock:
            self._count(time.monotonic())
            return self._load

    @property
    def costs(self) -> dict[str, Cost]:
        """What was answered up to now, by the name of the prompt."""
        with self._lock:
            return dict(self._costs)

    def _count(self, now_s: float) -> None:
        if self._in_flight:
            passed_s = now_s - self._since_s
            self._load += Load(passed_s, passed_s * self._in_flight)
        self._since_s = now_s


def load_of(spans: Iterable[tuple[float, float]]) -> Load:
    """The load that work made which ran from one moment to another, such as clips in worker processes."""
    busy_s = slot_s = 0.0
    until_s = float("-inf")
    for began_s, ended_s in sorted(spans):
        slot_s += ended_s - began_s
        busy_s += max(0.0, ended_s - max(began_s, until_s))
        until_s = max(until_s, ended_s)
    return Load(busy_s, slot_s)


@dataclass(frozen=True, slots=True)
class StageTime:
    """What a stage took: `wall_s` by the clock, and the load of its engines in that time."""

    wall_s: float = 0.0
    load: Load = Load()
    slots: int = 0
    """How many requests, or worker processes, its engines serve at a time."""

    def __add__(self, other: "StageTime") -> "StageTime":
        return StageTime(self.wall_s + other.wall_s, self.load + other.load, max(self.slots, other.slots))

    @property
    def engine_share(self) -> float:
        """Share of the wall time in which the engines had work."""
        return min(1.0, self.load.busy_s / self.wall_s) if self.wall_s else 0.0

    @property
    def mean_slots(self) -> float:
        """Requests in flight, over the whole wall time of the stage."""
        return self.load.slot_s / self.wall_s if self.wall_s else 0.0

    def figures(self) -> dict[str, float]:
        """The figures as plain JSON."""
        return {
            "wall_s": round(self.wall_s, 2),
            "engine_share": round(self.engine_share, 4),
            "mean_slots": round(self.mean_slots, 2),
            "slots": self.slots,
        }


def merge_costs(one: Mapping[str, Cost], other: Mapping[str, Cost]) -> dict[str, Cost]:
    """Add up costs by kind."""
    return {kind: one.get(kind, Cost()) + other.get(kind, Cost()) for kind in sorted({*one, *other})}
