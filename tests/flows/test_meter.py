# SPDX-License-Identifier: Apache-2.0
import pytest

from flows.meter import OTHER, EngineMeter, Load, StageTime, load_of, merge_costs
from generators.chat import ChatReply, ChatRequest, Message
from generators.prompts import PROMPTS, load_prompt


def asked(*messages: str) -> ChatRequest:
    return ChatRequest(tuple(Message("user", text) for text in messages), None, 10, 0.0, 0)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("flows.meter.time.monotonic", lambda: now[0])
    return now


def test_time_with_work_counts_once_and_slots_add_up(clock):
    meter = EngineMeter()
    first = meter.enter(asked("a"))
    clock[0] = 102.0
    second = meter.enter(asked("b"))
    clock[0] = 105.0
    meter.leave(first, ChatReply("x", "stop", 7, 3))
    clock[0] = 106.0
    meter.leave(second, None)
    clock[0] = 200.0
    assert meter.load == Load(busy_s=6.0, slot_s=9.0)
    cost = meter.costs[OTHER]
    assert (cost.calls, cost.failed, cost.prompt_tokens, cost.completion_tokens, cost.latency_s) == (2, 1, 7, 3, 9.0)


def test_a_request_in_flight_counts_up_to_now(clock):
    meter = EngineMeter()
    meter.enter(asked("a"))
    clock[0] = 103.5
    assert meter.load == Load(3.5, 3.5)


@pytest.mark.parametrize("name", PROMPTS)
def test_requests_are_counted_under_their_prompt(name):
    prompt = load_prompt(name)
    values = dict.fromkeys(prompt.template.get_identifiers(), "x")
    meter = EngineMeter()
    question = meter.enter(prompt.request(values, schema=None, max_tokens=1, temperature=0, seed=0))
    meter.leave(question, ChatReply("x", "stop", 1, 1))
    assert list(meter.costs) == [name]


def test_samples_tell_with_how_many_a_request_shared_the_engine():
    meter = EngineMeter()
    meter.samples = []
    first = meter.enter(asked("a"))
    second = meter.enter(asked("b"))
    meter.leave(second, ChatReply("x", "stop", 1, 1))
    meter.leave(first, ChatReply("x", "stop", 1, 1))
    assert [sample.beside for sample in meter.samples] == [2, 1]


@pytest.mark.parametrize(
    ("spans", "load"),
    [
        ([], Load()),
        ([(0.0, 2.0), (1.0, 3.0)], Load(3.0, 4.0)),
        ([(5.0, 6.0), (0.0, 1.0)], Load(2.0, 2.0)),
        ([(0.0, 10.0), (2.0, 3.0), (4.0, 5.0)], Load(10.0, 12.0)),
    ],
)
def test_spans_of_workers_make_a_load(spans, load):
    assert load_of(spans) == load


def test_a_stage_tells_its_share_of_time_with_work_and_its_mean_slots():
    took = StageTime(10.0, Load(8.0, 24.0), 4)
    assert took.figures() == {"wall_s": 10.0, "engine_share": 0.8, "mean_slots": 2.4, "slots": 4}
    assert StageTime().figures()["engine_share"] == 0.0
    assert (took + StageTime(10.0, Load(0.0, 0.0), 4)).engine_share == 0.4


def test_costs_add_up_by_kind():
    meter = EngineMeter()
    meter.leave(meter.enter(asked("a")), ChatReply("x", "stop", 2, 1))
    merged = merge_costs(meter.costs, meter.costs)
    assert (merged[OTHER].calls, merged[OTHER].prompt_tokens) == (2, 4)
