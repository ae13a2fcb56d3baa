# SPDX-License-Identifier: Apache-2.0
"""Every way a server misbehaves has its outcome, and costs no more calls than it must."""

import asyncio
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydantic import SecretStr

from generators.backends.openai import OpenAIChat
from generators.backends.openai_wire import retry_after
from generators.chat import ChatReply, ChatRequest, ChatSettings, Message
from tests.doubles.scripted_server import GOOD, Answer, ScriptedServer, completion
from validators.errors import DeferredError, InputError, ModelError

KEY = "sk-verysecretkey0123456789"
REQUEST = ChatRequest((Message("user", "Write one line."),), None, 40, 0.8, 7)
WAIT_S = 60  # of the test, for a future; far above what any case needs, also on a busy machine


class Naps:
    """Stands in for asyncio.sleep: notes what was asked for and waits next to nothing."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0.002)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@contextmanager
def chat_with(
    script: Callable[[int, dict], Answer], naps: Naps, **settings: object
) -> Iterator[tuple[OpenAIChat, ScriptedServer]]:
    with ScriptedServer(script) as server:
        defaults = ChatSettings("m", base_url=server.base_url, api_key=SecretStr(KEY), timeout_s=30)
        chat = OpenAIChat(replace(defaults, **settings), sleep=naps)  # type: ignore[arg-type]
        try:
            yield chat, server
        finally:
            chat.close()


def requests(count: int) -> list[ChatRequest]:
    return [replace(REQUEST, seed=seed) for seed in range(count)]


def error_of(future: Future[ChatReply]) -> BaseException | None:
    return future.exception(WAIT_S)


def bad(body: bytes = b"", **fields: object) -> Answer:
    return Answer(body=body, **fields)  # type: ignore[arg-type]


NULL_CONTENT = {"message": {"role": "assistant", "content": None}}
TRANSIENT = {
    "too many requests": lambda body: bad(status=429),
    "server error": lambda body: bad(status=500),
    "unavailable": lambda body: bad(b"<html>bad gateway</html>", status=502, content_type="text/html"),
    "garbage": lambda body: bad(b"{not json"),
    "not utf-8": lambda body: bad(b"\xff\xfe{}"),
    "cut JSON": lambda body: bad(completion(body)[:-20]),
    "cut connection": lambda body: Answer(act="cut"),
    "HTML": lambda body: bad(b"<html>sign in</html>", content_type="text/html"),
    "other JSON": lambda body: bad(b'{"choices": []}'),
    "no content": lambda body: bad(completion(body, **NULL_CONTENT)),
    "no finish reason": lambda body: bad(completion(body, finish_reason=None)),
    "reset": lambda body: Answer(act="reset"),
    "5 MB": lambda body: bad(b" " * 5_000_000),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_is_asked_again(fault: str, naps: Naps) -> None:
    with chat_with(lambda n, body: TRANSIENT[fault](body) if n < 2 else GOOD, naps) as (chat, server):
        assert chat.submit(REQUEST).result(WAIT_S).finish_reason == "stop"
    assert len(server.calls) == 3
    assert len(naps.asked) == 2


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_stays_is_deferred_after_five_calls(fault: str, naps: Naps) -> None:
    with chat_with(lambda n, body: TRANSIENT[fault](body), naps) as (chat, server):
        error = error_of(chat.submit(REQUEST))
    assert isinstance(error, DeferredError), error
    assert len(server.calls) == 5
    assert "asked 5 times" in str(error)


def test_a_server_that_hangs_is_deferred(naps: Naps) -> None:
    with chat_with(lambda n, body: Answer(act="hang"), naps, timeout_s=0.1) as (chat, server):
        error = error_of(chat.submit(REQUEST))
    assert isinstance(error, DeferredError)
    assert "0.1 s" in str(error)
    assert len(server.calls) == 5


def test_a_refused_connection_is_deferred(naps: Naps) -> None:
    with socket.socket() as bound:  # bound, not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        chat = OpenAIChat(ChatSettings("m", base_url=f"http://127.0.0.1:{bound.getsockname()[1]}/v1"), sleep=naps)
        error = error_of(chat.submit(REQUEST))
        chat.close()
    assert isinstance(error, DeferredError)
    assert "Check that the server runs" in str(error)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, "options"), (401, "the key given for"), (402, "credit"), (403, "may use"), (404, "model name 'm'"),
     (307, "own address"), (422, "options")],
)  # fmt: skip
def test_what_stays_wrong_stops_everything_after_one_call(status: int, hint: str, naps: Naps) -> None:
    with chat_with(lambda n, body: bad(status=status, headers={"Location": "/x"}), naps, slots=1) as (chat, server):
        futures = [chat.submit(request) for request in requests(20)]
        errors = [error_of(future) for future in futures]
        late = error_of(chat.submit(REQUEST))
    assert len(server.calls) == 1
    assert {type(error) for error in [*errors, late]} == {ModelError}
    assert {str(error) for error in errors} == {str(late)}
    assert hint in str(late)
    assert errors[0] is not errors[1]


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_the_key_is_in_no_message(status: int, naps: Naps, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echoed = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
    with chat_with(lambda n, body: bad(echoed, status=status), naps) as (chat, server):
        error = error_of(chat.submit(REQUEST))
        shown = [repr(chat), repr(chat._settings)]
    assert error is not None
    shown += [str(error), repr(error), "".join(traceback.format_exception(error)), caplog.text]
    assert server.calls[0].authorization == f"Bearer {KEY}"
    assert not any("verysecret" in text for text in shown)


def test_what_the_server_says_about_a_bad_request_is_passed_on(naps: Naps) -> None:
    words = json.dumps({"error": {"message": "min_p is not supported"}}).encode()
    with chat_with(lambda n, body: bad(words, status=400), naps) as (chat, _):
        assert "min_p is not supported" in str(error_of(chat.submit(REQUEST)))


def test_retry_after_is_waited_for(naps: Naps) -> None:
    waits = [
        {"Retry-After": "7"},
        {"Retry-After": "Tue, 24 Nov 2026 10:00:30 GMT", "Date": "Tue, 24 Nov 2026 10:00:00 GMT"},
        {"Retry-After": "100000"},
    ]
    with chat_with(lambda n, body: bad(status=429, headers=waits[n]) if n < 3 else GOOD, naps) as (chat, _):
        chat.submit(REQUEST).result(WAIT_S)
    assert naps.asked == [7.0, 30.0, 300.0]


@pytest.mark.parametrize("value", ["", "soon", "nan", "Tue, 24 Nov 2026 10:00:30 GMT"])
def test_retry_after_that_says_nothing_is_ignored(value: str) -> None:
    assert retry_after({"Retry-After": value}) is None
    assert retry_after({"Retry-After": "-5"}) == 0


def test_waits_grow_and_depend_on_the_seed_alone() -> None:
    def waits(seed: int) -> list[float]:
        naps = Naps()
        with chat_with(lambda n, body: bad(status=500), naps) as (chat, _):
            error_of(chat.submit(replace(REQUEST, seed=seed)))
        return naps.asked

    first, again, other = waits(1), waits(1), waits(2)
    assert first == again != other
    assert all(wait <= 2.0 * 2**tries for tries, wait in enumerate(first))


def test_a_429_storm_costs_few_calls_and_defers_everything(naps: Naps) -> None:
    with chat_with(lambda n, body: bad(status=429), naps, slots=16) as (chat, server):
        errors = [error_of(future) for future in [chat.submit(request) for request in requests(100)]]
    assert all(isinstance(error, DeferredError) for error in errors)
    assert len(server.calls) <= 16 + 8 + 4 + 2 + 1 + 1 + 1 + 1
    assert len(naps.asked) == 7  # shared by all; the eighth round is the last


def test_after_a_429_fewer_calls_are_made_at_once_and_then_more_again(naps: Naps) -> None:
    def script(number: int, body: dict) -> Answer:
        return bad(status=429) if 20 <= number < 28 else Answer(delay_s=0.005)

    with chat_with(script, naps, slots=8) as (chat, server):
        for future in [chat.submit(request) for request in requests(120)]:
            assert future.result(WAIT_S).finish_reason == "stop"
        assert server.most_at_once <= 8
        assert chat._pace.limit == 8
    assert len(server.calls) == 128


def test_a_burst_of_500_passes(naps: Naps) -> None:
    with chat_with(lambda n, body: bad(status=500) if n < 12 else GOOD, naps, slots=4) as (chat, server):
        replies = [future.result(WAIT_S) for future in [chat.submit(request) for request in requests(30)]]
    assert len(replies) == 30
    assert len(server.calls) == 42


def test_ten_failed_requests_in_a_row_stop_the_rest(naps: Naps) -> None:
    with chat_with(lambda n, body: bad(status=500), naps, slots=2) as (chat, server):
        errors = [error_of(future) for future in [chat.submit(request) for request in requests(200)]]
        late = error_of(chat.submit(REQUEST))
    assert all(isinstance(error, DeferredError) for error in [*errors, late])
    assert "10 requests in a row" in str(late)
    assert 50 <= len(server.calls) <= 98  # ten requests of five calls; ten more and two new ones on their way; not 1000


def test_successes_between_failures_keep_the_rest_going(naps: Naps) -> None:
    def script(number: int, body: dict) -> Answer:
        return GOOD if body["seed"] % 5 == 4 else bad(status=500)

    with chat_with(script, naps) as (chat, _):
        errors = [error_of(chat.submit(request)) for request in requests(25)]
    assert [error is None for error in errors] == [False, False, False, False, True] * 5


def test_the_body_says_what_was_asked(naps: Naps) -> None:
    schema = {"type": "object", "properties": {"line": {"type": "string"}}, "required": ["line"]}
    options = {"top_k": 5, "min_p": None}
    with chat_with(lambda n, body: GOOD, naps, options=options) as (chat, server):
        chat.submit(replace(REQUEST, schema=json.dumps(schema), seed=2**40 + 1)).result(WAIT_S)
    assert server.calls[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Write one line."}],
        "max_tokens": 40,
        "temperature": 0.8,
        "seed": 1,
        "top_k": 5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": schema}},
    }


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_reply_that_is_not_whole_says_so(reason: str, naps: Naps) -> None:
    with chat_with(lambda n, body: bad(completion(body, finish_reason=reason, **NULL_CONTENT)), naps) as (chat, server):
        reply = chat.submit(REQUEST).result(WAIT_S)
    assert (reply.text, reply.finish_reason, len(server.calls)) == ("", reason, 1)


def test_close_drops_what_is_in_flight_and_what_waits(naps: Naps) -> None:
    with chat_with(lambda n, body: Answer(act="hang"), naps, slots=2) as (chat, server):
        futures = [chat.submit(request) for request in requests(10)]
        while not server.calls:
            time.sleep(0.01)
        started = time.monotonic()
        chat.close()
        assert time.monotonic() - started < 10  # a call hangs for 30
        assert all(isinstance(error_of(future), DeferredError) for future in [*futures, chat.submit(REQUEST)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ChatSettings("m", base_url="file:///etc/passwd"), "http or https"),
        (ChatSettings("m", base_url="http://"), "http or https"),
        (ChatSettings("m", base_url="http://me:secret@127.0.0.1/v1"), "must not hold"),
        (ChatSettings("m", base_url="http://127.0.0.1/v1", api_key=SecretStr("a\nb")), "no key has"),
        (ChatSettings("m", base_url="http://127.0.0.1/v1", api_key=SecretStr("")), "no key has"),
        (ChatSettings("m", base_url="http://127.0.0.1/v1", options={"stream": True}), "'stream'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: ChatSettings, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        OpenAIChat(settings)
    assert "secret" not in str(caught.value)
