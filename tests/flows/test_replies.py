# SPDX-License-Identifier: Apache-2.0
import logging
import sqlite3
import sys
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.failpoints import VARIABLE, FailpointError
from flows.replies import ReplyStore, StoredChat, reply_key
from flows.sealed import sha256_of
from generators.chat import ChatReply, ChatRequest, Message
from tests.flows.shards import run_elsewhere
from validators.errors import DeferredError, StorageError

MODEL = "m@1"


class HeldChat:
    """A Chat whose replies come when the test says so, from another thread if need be."""

    model = MODEL
    slots = 4

    def __init__(self) -> None:
        self.asked: list[tuple[ChatRequest, Future[ChatReply]]] = []
        self.closed = False

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        future: Future[ChatReply] = Future()
        self.asked.append((request, future))
        return future

    def answer(self, n: int = -1) -> None:
        request, future = self.asked[n]
        future.set_result(reply_to(request))

    def close(self) -> None:
        self.closed = True


class EagerChat(HeldChat):
    """A Chat that has answered when submit returns."""

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        future = super().submit(request)
        self.answer()
        return future


def ask(text: str, seed: int = 0) -> ChatRequest:
    return ChatRequest((Message("system", "be brief"), Message("user", text)), None, 64, 0.8, seed)


def reply_to(request: ChatRequest) -> ChatReply:
    return ChatReply(f"reply to {request.messages[-1].content}", "stop", 10, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


def test_a_known_request_makes_no_call(path: Path) -> None:
    with ReplyStore(path) as store:
        assert StoredChat(EagerChat(), store).submit(ask("a")).result(1) == reply_to(ask("a"))
    with ReplyStore(path) as store:
        inner = EagerChat()
        chat = StoredChat(inner, store)
        assert (chat.model, chat.slots) == (MODEL, 4)
        assert chat.submit(ask("a")).result(1) == reply_to(ask("a"))
        assert inner.asked == []
        chat.submit(ask("b")).result(1)
        assert (chat.usage.calls, chat.usage.hits) == (1, 1)
        assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (10, 3)


@pytest.mark.parametrize("text", ["", "\x00", "a\ud800b", "\U0001f469‍\U0001f467 \u202eabc", "x" * 1_000_000])
def test_replies_come_back_exactly(path: Path, text: str) -> None:
    reply = ChatReply(text, "length", 0, 0)
    with ReplyStore(path) as store:
        store.put("key", reply)
    with ReplyStore(path) as store:
        assert store.get("key") == reply


def test_token_probabilities_come_back_exactly(path: Path) -> None:
    reply = ChatReply("A", "length", 9, 1, first_token=(("A", -0.1234567890123456), ("\ud800", -3.5), ("", -20.0)))
    with ReplyStore(path) as store:
        store.put("key", reply)
    with ReplyStore(path) as store:
        assert store.get("key") == reply


def test_everything_that_produces_a_reply_is_in_its_key() -> None:
    request = ask("a")
    others = [
        replace(request, messages=request.messages[1:]),
        replace(request, messages=(Message("user", "be brief"), request.messages[1])),
        replace(request, schema="{}"),
        replace(request, max_tokens=65),
        replace(request, temperature=0.7),
        replace(request, min_p=0.0),
        replace(request, seed=1),
        replace(request, top_logprobs=5),
    ]
    keys = [reply_key(other, MODEL) for other in (request, *others)] + [reply_key(request, "m@2")]
    assert len(set(keys)) == len(keys)
    assert reply_key(ask("a"), MODEL) == keys[0]


def test_it_is_stored_before_it_is_handed_out(path: Path) -> None:
    inner = HeldChat()
    with ReplyStore(path) as store:
        future = StoredChat(inner, store).submit(ask("a"))
        stored: list[bool] = []
        future.add_done_callback(lambda _: stored.append(store.get(reply_key(ask("a"), MODEL)) is not None))
        assert not future.done()
        inner.answer()
        assert stored == [True]


def test_the_same_request_in_flight_is_asked_once(path: Path) -> None:
    inner = HeldChat()
    with ReplyStore(path) as store:
        chat = StoredChat(inner, store)
        futures = [chat.submit(ask("a")) for _ in range(5)]
        futures[1].cancel()
        assert len(inner.asked) == 1
        inner.answer()
        assert [future.result(1) for n, future in enumerate(futures) if n != 1] == [reply_to(ask("a"))] * 4
        assert (chat.usage.calls, chat.usage.hits) == (1, 4)


def test_a_failed_request_is_never_stored_and_asked_again(path: Path) -> None:
    inner = HeldChat()
    with ReplyStore(path) as store:
        chat = StoredChat(inner, store)
        futures = [chat.submit(ask("a")), chat.submit(ask("a"))]
        inner.asked[0][1].set_exception(DeferredError("no answer"))
        for future in futures:
            with pytest.raises(DeferredError):
                future.result(1)
        assert len(store) == 0
        again = chat.submit(ask("a"))
        inner.answer()
        assert again.result(1) == reply_to(ask("a"))
        assert (chat.usage.calls, chat.usage.failed) == (2, 1)


def test_an_engine_that_refuses_or_drops_leaves_nobody_waiting(path: Path) -> None:
    class Broken(HeldChat):
        def submit(self, request: ChatRequest) -> Future[ChatReply]:
            raise DeferredError("engine down")

    with ReplyStore(path) as store:
        with pytest.raises(DeferredError):
            StoredChat(Broken(), store).submit(ask("a"))
        inner = HeldChat()
        chat = StoredChat(inner, store)
        dropped, left = chat.submit(ask("a")), chat.submit(ask("b"))
        inner.asked[0][1].cancel()
        inner.asked[0][1].set_running_or_notify_cancel()
        with pytest.raises(CancelledError):
            dropped.result(1)
        chat.close()
        assert inner.closed
        with pytest.raises(CancelledError):
            left.result(1)
    inner.answer()  # too late: the store is closed, and nothing breaks


def test_busy_time_counts_overlapping_requests_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("flows.replies.time.monotonic", lambda: now)
    inner = HeldChat()
    with ReplyStore(path) as store:
        chat = StoredChat(inner, store)
        chat.submit(ask("a"))  # 100 to 103
        now = 101.0
        chat.submit(ask("b"))  # 101 to 105
        assert chat.usage.busy_s == 1.0
        now = 103.0
        inner.answer(0)
        now = 105.0
        inner.answer(1)
        now = 200.0
        assert chat.usage.busy_s == 5.0
        chat.submit(ask("a"))
        now = 300.0
        assert chat.usage.busy_s == 5.0


def test_many_threads(path: Path) -> None:
    with ThreadPoolExecutor(4) as engine, ThreadPoolExecutor(8) as callers, ReplyStore(path) as store:
        calls: list[str] = []
        lock = threading.Lock()

        class Threaded(HeldChat):
            def submit(self, request: ChatRequest) -> Future[ChatReply]:
                return engine.submit(self.work, request)

            def work(self, request: ChatRequest) -> ChatReply:
                with lock:
                    calls.append(request.messages[-1].content)
                return reply_to(request)

        chat = StoredChat(Threaded(), store)
        asked = [ask(str(n % 40)) for n in range(400)]
        replies = list(callers.map(lambda request: chat.submit(request).result(30), asked))
        assert replies == [reply_to(request) for request in asked]
        assert sorted(calls) == sorted({str(n) for n in range(40)})
        assert (chat.usage.calls, chat.usage.hits) == (40, 360)
        assert chat.usage.completion_tokens == 120


def test_a_full_disk_reaches_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "after_reply_before_store:1:enospc")
    with ReplyStore(path) as store, pytest.raises(StorageError, match="no space left"):
        StoredChat(EagerChat(), store).submit(ask("full")).result(1)


def test_a_bug_reaches_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "after_reply_before_store:1:raise")
    with ReplyStore(path) as store, pytest.raises(FailpointError):
        StoredChat(EagerChat(), store).submit(ask("bug")).result(1)


def test_a_full_database_is_a_storage_error(path: Path) -> None:
    with ReplyStore(path) as store:
        store._connection.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StorageError, match="full") as caught:
            store.put("key", ChatReply("x" * 100_000, "stop", 1, 1))
        assert "bytes free" in caught.value.where


def test_a_flipped_reply_is_asked_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ReplyStore(path) as store:
        store.put("key", ChatReply("the truth", "stop", 1, 1))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE replies SET text = ?", (b"the trutH",))
    db.close()
    with caplog.at_level(logging.WARNING), ReplyStore(path) as store:
        assert store.get("key") is None
    assert "damaged" in caplog.text


def test_no_database_at_all_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in (1, 2):
        path.write_bytes(b"no database" * 100)
        with caplog.at_level(logging.WARNING), ReplyStore(path) as store:
            assert len(store) == 0
        assert path.with_name(f"replies.sqlite.damaged-{n}").read_bytes() == b"no database" * 100
    assert "a new one is begun" in caplog.text


@pytest.mark.parametrize("other", [1, 99])
def test_another_format_is_refused_and_left_alone(path: Path, other: int) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {other}")
    db.close()
    with pytest.raises(StorageError, match=f"has format {other}, and this version of affectory knows 2"):
        ReplyStore(path)
    assert [p.name for p in path.parent.iterdir() if "damaged" in p.name] == []


@pytest.mark.fault
@pytest.mark.parametrize(("failpoint", "stored"), [("after_reply_before_store:2:kill", 1), ("after_store:2:kill", 2)])
def test_a_kill_costs_at_most_what_is_in_flight(path: Path, failpoint: str, stored: int) -> None:
    assert run_elsewhere("tests.flows.test_replies", str(path), failpoint=failpoint).returncode == -9
    inner = EagerChat()
    with ReplyStore(path) as store:
        assert len(store) == stored
        chat = StoredChat(inner, store)
        for text in "abc":
            assert chat.submit(ask(text)).result(1) == reply_to(ask(text))
    assert len(inner.asked) == 3 - stored


if __name__ == "__main__":
    with ReplyStore(Path(sys.argv[1])) as store_:
        for text_ in "abc":
            StoredChat(EagerChat(), store_).submit(ask(text_)).result(1)


def test_a_key_is_made_from_all_that_is_asked_but_the_writer_s_name() -> None:
    request = replace(ask("a"), avoid_words=("glad",), top_logprobs=3, writer="small")
    everything = {name: value for name, value in asdict(request).items() if name != "writer"}
    assert reply_key(request, MODEL) == sha256_of(everything | {"model": MODEL})


def test_what_was_spent_is_counted_on_and_what_others_write_is_seen(path: Path) -> None:
    with ReplyStore(path) as store, ReplyStore(path) as other:
        assert store.spent() == (0, 0, 0)
        store.put("a", ChatReply("x", "stop", 10, 3))
        store.put("reading", ChatReply("[0.5]", "stop", 0, 0))
        assert store.spent() == (1, 10, 3)
        other.put("b", ChatReply("y", "stop", 5, 2))
        assert store.spent() == other.spent() == (2, 15, 5)
        assert store.spent().tokens == 20


def test_a_store_takes_over_the_replies_of_another_and_keeps_its_own(tmp_path: Path) -> None:
    with ReplyStore(tmp_path / "probe.sqlite") as probe:
        probe.put("a", ChatReply("of the probe", "stop", 10, 3))
        probe.put("b", ChatReply("new", "stop", 10, 3))
    with ReplyStore(tmp_path / "run.sqlite") as store:
        store.put("a", ChatReply("its own", "stop", 10, 3))
        assert store.spent().calls == 1
        store.adopt(tmp_path / "probe.sqlite")
        assert [found.text for key in "ab" if (found := store.get(key))] == ["its own", "new"]
        assert store.spent().calls == 2
        assert store.size > 0
