# SPDX-License-Identifier: Apache-2.0
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.backends.echo import ScriptedChat
from generators.chat import ChatReply, ChatRequest, Message
from generators.conversations import OPEN_PER_SLOT, Conversation, Slots, asked_at_once, read_blind, side_by_side
from generators.conversations import ask as ask_writer
from validators.errors import DeferredError, ModelError
from validators.readings import Reading, make_reading
from validators.roles import Passage


def ask(text: str) -> ChatRequest:
    return ChatRequest((Message("user", text),), None, 20, 0.0, 1)


def echo(request: ChatRequest) -> str:
    return request.messages[-1].content


def talk(name: str, turns: int) -> Conversation[list[str]]:
    heard: list[str] = []
    for turn in range(turns):
        reply = yield from ask_writer(ask(f"{name}.{turn}"))
        heard.append(reply.text)
    return heard


class ByHand:
    """A chat whose futures a test ends; requests whose text is in `at_once` are answered as they come."""

    def __init__(self, *at_once: str) -> None:
        self.open: dict[str, Future[ChatReply]] = {}
        self.order: list[str] = []
        self._at_once = at_once

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        text = echo(request)
        self.order.append(text)
        self.open[text] = Future()
        future = self.open[text]
        if text.startswith(self._at_once):
            self.answer(text)
        return future

    def answer(self, text: str) -> None:
        self.open.pop(text).set_result(ChatReply(text, "stop", 1, 1))


class Watched:
    """Counts how many requests are in flight."""

    def __init__(self, chat: ScriptedChat) -> None:
        self.most = 0
        self._chat = chat
        self._now = 0
        self._lock = threading.Lock()

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        future = self._chat.submit(request)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[ChatReply]) -> None:
        with self._lock:
            self._now -= 1


def test_each_row_comes_with_its_position_and_its_own_replies():
    chat = ScriptedChat(echo)
    rows = dict(side_by_side((talk(f"c{n}", n % 4) for n in range(20)), chat.submit, Slots(3)))
    assert rows == {n: [f"c{n}.{turn}" for turn in range(n % 4)] for n in range(20)}


def test_no_conversation_is_no_row():
    chat = ScriptedChat(echo)
    assert list(side_by_side([], chat.submit, Slots(4))) == []
    assert chat.requests == []


def test_a_conversation_that_asks_nothing_ends_at_once():
    chat = ScriptedChat(echo)
    rows = list(side_by_side((talk(f"c{n}", 0) for n in range(3000)), chat.submit, Slots(1)))
    assert rows == [(n, []) for n in range(3000)]
    assert chat.requests == []


def test_a_conversation_that_asks_nothing_does_not_wait_for_others():
    chat = ByHand("slow")
    rows = side_by_side([talk("slow", 1), talk("none", 0)], chat.submit, Slots(2))
    assert next(rows) == (1, [])
    assert list(rows) == [(0, ["slow.0"])]


def test_rows_come_as_they_end():
    chat = ByHand("fast")
    rows = side_by_side([talk("slow", 1), talk("fast", 1), talk("faster", 1)], chat.submit, Slots(2))
    assert next(rows) == (1, ["fast.0"])
    assert next(rows) == (2, ["faster.0"])
    chat.answer("slow.0")
    assert list(rows) == [(0, ["slow.0"])]


def staged(name: str, *stages: str) -> Conversation[str]:
    """A row that asks once at each stage; the stage is the constant part of its prompt."""
    for stage in stages:
        yield ChatRequest((Message("system", stage), Message("user", f"{stage} {name}")), None, 20, 0.0, 1)
    return name


def again(name: str, seeds: int) -> Conversation[str]:
    """A row that asks the same question with one seed after the other."""
    for seed in range(seeds):
        yield ChatRequest((Message("system", "write"), Message("user", name)), None, 20, 0.0, seed)
    return name


def test_a_freed_slot_stays_with_its_kind_of_request_as_long_as_one_waits():
    chat = ScriptedChat(echo)
    rows = dict(side_by_side((staged(name, "line", "context") for name in "abcd"), chat.submit, Slots(1)))
    assert rows == dict(enumerate("abcd"))
    kinds = [request.messages[0].content for request in chat.requests]
    assert kinds == ["line"] * 4 + ["context"] * 4


def test_the_same_question_with_another_seed_goes_first():
    chat = ScriptedChat(echo)
    list(side_by_side((again(name, 3) for name in "abc"), chat.submit, Slots(1)))
    assert [(echo(request), request.seed) for request in chat.requests] == [(n, s) for n in "abc" for s in range(3)]


def test_few_more_conversations_are_begun_than_there_are_slots():
    begun: list[int] = []

    def conversations() -> Iterator[Conversation[list[str]]]:
        for n in range(100):
            begun.append(n)
            yield talk(f"c{n}", 2)

    chat = ByHand("c")
    rows = side_by_side(conversations(), chat.submit, Slots(3))
    assert begun == []
    next(rows)
    assert len(begun) <= 3 * OPEN_PER_SLOT + 3
    assert len(list(rows)) == 99


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_at_most_so_many_requests_are_in_flight_as_there_are_slots(slots):
    chat = ScriptedChat(echo, slots=16, delay_s=0.002)
    watched = Watched(chat)
    rows = dict(side_by_side((talk(f"c{n}", 1 + n % 3) for n in range(24)), watched.submit, Slots(slots)))
    chat.close()
    assert len(rows) == 24
    assert watched.most == slots


def test_fewer_conversations_than_slots_all_run():
    chat = ScriptedChat(echo)
    assert len(list(side_by_side([talk("a", 1), talk("b", 1)], chat.submit, Slots(100)))) == 2


def test_a_model_that_did_not_answer_ends_its_row_alone():
    closed: list[str] = []

    def careful(name: str) -> Conversation[str]:
        try:
            yield ask(name)
            reply = yield from ask_writer(ask(f"{name} again"))
        finally:
            closed.append(name)
        return reply.text

    refusal = DeferredError("busy")
    chat = ScriptedChat(lambda request: refusal if echo(request) == "b again" else echo(request))
    rows = dict(side_by_side([careful("a"), careful("b"), careful("c")], chat.submit, Slots(2)))
    assert rows == {0: "a again", 1: refusal, 2: "c again"}
    assert sorted(closed) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [ModelError("broken"), ValueError("a bug")])
def test_any_other_failure_stops_all(error):
    chat = ScriptedChat(lambda request: error if echo(request) == "b.0" else echo(request))
    rows = side_by_side([talk("a", 1), talk("b", 1), talk("c", 1)], chat.submit, Slots(1))
    assert next(rows) == (0, ["a.0"])
    with pytest.raises(type(error), match=str(error)):
        next(rows)
    assert [echo(request) for request in chat.requests] == ["a.0", "b.0"]


def test_a_failure_inside_of_a_conversation_stops_all():
    def broken() -> Conversation[list[str]]:
        yield ask("x")
        raise KeyError("character")

    with pytest.raises(KeyError, match="character"):
        list(side_by_side([broken()], ScriptedChat(echo).submit, Slots(2)))


def test_a_failure_to_submit_stops_all():
    def submit(request: ChatRequest) -> Future[ChatReply]:
        raise ModelError("closed")

    with pytest.raises(ModelError, match="closed"):
        list(side_by_side([talk("a", 1)], submit, Slots(2)))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 5), st.data())
def test_every_conversation_ends_as_exactly_one_row(turns, slots, data):
    failing = data.draw(st.sets(st.sampled_from([f"c{n}.{turn}" for n in range(12) for turn in range(4)]), max_size=4))
    chat = ScriptedChat(lambda request: DeferredError("busy") if echo(request) in failing else echo(request))
    conversations = (talk(f"c{n}", count) for n, count in enumerate(turns))
    rows = list(side_by_side(conversations, chat.submit, Slots(slots)))
    assert sorted(position for position, _ in rows) == list(range(len(turns)))
    for position, row in rows:
        questions = [f"c{position}.{turn}" for turn in range(turns[position])]
        if failing.intersection(questions):
            assert isinstance(row, DeferredError)
        else:
            assert row == questions
    texts = [echo(request) for request in chat.requests]
    assert len(set(texts)) == len(texts)


READING = make_reading(("joy",), (0.7,), (0.5,))


def repaired(name: str) -> Conversation[str]:
    """A row that is read after each try and asked again with what was heard."""
    for attempt in range(3):
        reply = yield from ask_writer(ask(f"{name}.{attempt}"))
        yield from read_blind(Passage(reply.text))
    return name


@pytest.mark.parametrize("slots", [1, 2])
def test_a_slot_waits_for_the_reading_of_its_own_conversation(slots: int) -> None:
    def read(passage: Passage) -> Future[Reading]:
        future: Future[Reading] = Future()
        future.set_result(READING)
        return future

    chat = ScriptedChat(echo)
    rows = dict(side_by_side((repaired(name) for name in "abcd"), chat.submit, Slots(slots), read))
    assert rows == dict(enumerate("abcd"))
    order = [echo(request)[0] for request in chat.requests]
    assert all(set(order[n : n + 3 * slots]) == set(order[n : n + slots]) for n in range(0, 12, 3 * slots))


def test_a_conversation_that_begins_with_a_reading_gets_a_slot_too() -> None:
    def reads() -> Conversation[list[str]]:
        reading = yield from read_blind(Passage("line"))
        return [str(reading.score("joy"))]

    def read(passage: Passage) -> Future[Reading]:
        future: Future[Reading] = Future()
        future.set_result(READING)
        return future

    rows = list(side_by_side([reads(), talk("w", 3)], ScriptedChat(echo).submit, Slots(1), read))
    assert sorted(rows, key=lambda row: row[0]) == [(0, ["0.7"]), (1, ["w.0", "w.1", "w.2"])]


def test_a_passage_without_a_reader_is_a_bug_that_is_told() -> None:
    def reads() -> Conversation[Reading]:
        return (yield from read_blind(Passage("line")))

    with pytest.raises(TypeError, match="no reader"):
        list(side_by_side([reads()], ScriptedChat(echo).submit, Slots(1)))


def test_who_shares_the_slots_of_an_engine_keeps_no_more_than_it_needs() -> None:
    slots = Slots(2)
    chat = ByHand()
    one = side_by_side([talk("a", 1), talk("b", 1), talk("c", 1)], chat.submit, slots)
    other = side_by_side([talk("x", 2)], chat.submit, slots)
    ended: dict[str, list[tuple[int, list[str] | DeferredError]]] = {"one": [], "other": []}
    threads = [
        threading.Thread(target=functools.partial(_extend, ended[name], rows), daemon=True)
        for name, rows in (("one", one), ("other", other))
    ]
    threads[0].start()
    _until(lambda: chat.order == ["a.0", "b.0"])
    threads[1].start()
    chat.answer("a.0")
    _until(lambda: chat.order == ["a.0", "b.0", "c.0"])  # the first goes on in its own slot
    chat.answer("b.0")
    _until(lambda: "x.0" in chat.order)  # and gives back what it has no use for
    for text in ("x.0", "c.0", "x.1"):
        _until(functools.partial(chat.open.__contains__, text))
        chat.answer(text)
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(ended["one"], key=lambda row: row[0]) == [(0, ["a.0"]), (1, ["b.0"]), (2, ["c.0"])]
    assert ended["other"] == [(0, ["x.0", "x.1"])]


@pytest.mark.parametrize("failing", ["submit", "row", "caller"])
def test_slots_are_given_back_when_work_ends_early(failing: str) -> None:
    slots = Slots(1)

    def submit(request: ChatRequest) -> Future[ChatReply]:
        if failing == "submit":
            raise ModelError("closed")
        return ScriptedChat(echo).submit(request)

    def broken() -> Conversation[str]:
        yield ask("x")
        if failing == "row":
            raise KeyError("character")
        return "x"

    rows = side_by_side([broken(), broken()], submit, slots)
    if failing == "caller":
        next(rows)
        rows.close()  # type: ignore[attr-defined]  # a generator
    else:
        with pytest.raises((ModelError, KeyError)):
            next(rows)
    assert dict(side_by_side([talk("a", 1)], ScriptedChat(echo).submit, slots)) == {0: ["a.0"]}


def _extend(ended: list[Any], rows: Iterator[Any]) -> None:
    ended.extend(rows)  # not `partial(ended.extend, rows)`: an error in a thread is told with this frame


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come to this within five seconds")


@pytest.mark.parametrize(("slots", "asked"), [(1, 1), (8, 8), (16, 17), (256, 272)])
def test_large_engines_are_handed_a_few_more_requests_than_they_answer_at_once(slots: int, asked: int) -> None:
    assert asked_at_once(slots) == asked
