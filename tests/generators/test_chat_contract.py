# SPDX-License-Identifier: Apache-2.0
"""What every Chat backend owes its caller, checked on each of them."""

import json
import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from flows.serve_role import Serve
from flows.served_chat import ServedChat
from flows.servers import Servers
from generators.backends import vllm
from generators.backends.echo import ScriptedChat, find_names, reply_to
from generators.backends.registry import CHAT, is_installed, open_chat, open_encoder
from generators.chat import MAX_TOP_LOGPROBS, Chat, ChatReply, ChatRequest, ChatSettings, Message, rank_tokens
from generators.encoder import EncoderSettings
from tests.doubles.scripted_server import Answer, ScriptedServer, completion
from validators.errors import DeferredError, InputError, ModelError

REPLY_S = 600  # for a model on a busy machine, where a server has taken four minutes to come up
FLOAT32 = {"dtype": "float32", "enforce_eager": True}  # bf16 replies depend on what else is in the batch
ONE_THREAD = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""As the servers of a run have it: bound threads wait for every other process on their cores."""
real = (pytest.mark.model, pytest.mark.filterwarnings("ignore"))  # engines warn about themselves


class Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    mood: Literal["calm", "loud"]
    utterance: str = Field(min_length=1, max_length=60)


REQUEST = ChatRequest(
    messages=(Message("system", "You write lines for a play."), Message("user", "Write what a sailor says.")),
    schema=json.dumps(Line.model_json_schema(), sort_keys=True),
    max_tokens=160,
    temperature=0.8,
    seed=7,
)


@dataclass(frozen=True)
class Subject:
    backend: str
    chat: Chat
    repeats: bool
    """Whether it promises the same text for the same request."""


def requests(count: int) -> list[ChatRequest]:
    return [replace(REQUEST, seed=seed) for seed in range(count)]


def settings_for(backend: str, request: pytest.FixtureRequest) -> ChatSettings:
    if backend in ("echo", "openai"):
        return ChatSettings("double", slots=4)
    settings = ChatSettings("smollm2", revision="0" * 12, slots=4, context_tokens=1024, timeout_s=REPLY_S)
    if backend == "llama":
        return replace(settings, weights=request.getfixturevalue("smollm2").path)
    return replace(settings, weights=request.getfixturevalue("smollm2_folder"))


@pytest.fixture(
    scope="module",
    params=[
        "echo",
        "openai",
        pytest.param("llama", marks=real),
        pytest.param("vllm", marks=(*real, pytest.mark.soak)),
        pytest.param("server", marks=(*real, pytest.mark.server, pytest.mark.soak)),
    ],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    backend: str = request.param
    settings = settings_for(backend, request)
    if backend == "openai":
        with ScriptedServer() as server:
            yield from opened(backend, replace(settings, base_url=server.base_url), repeats=True)
    elif backend == "server":
        servers = Servers()
        servers.attend(tmp_path_factory.mktemp("vllm"), lambda text: None)
        served = servers.add("writer", replace(settings, options=FLOAT32), Serve(), python=None)
        yield from closed(Subject(backend, ServedChat(servers, served), repeats=True))
    elif backend == "vllm":
        with pytest.MonkeyPatch.context() as environment:
            for name, value in {**vllm.ENVIRONMENT, **ONE_THREAD}.items():
                environment.setenv(name, value)
            yield from opened(backend, replace(settings, options=FLOAT32), repeats=True)
    else:
        yield from opened(backend, settings, repeats=backend == "echo")


def opened(backend: str, settings: ChatSettings, *, repeats: bool) -> Iterator[Subject]:
    yield from closed(Subject(backend, open_chat(backend, settings), repeats))


def closed(subject: Subject) -> Iterator[Subject]:
    try:
        yield subject
    finally:
        subject.chat.close()


def test_it_names_its_model(subject: Subject) -> None:
    assert subject.chat.model.startswith(("double", "smollm2@000000000000"))
    assert subject.chat.slots == 4


def test_many_requests_at_once_are_all_answered_in_the_form_asked_for(subject: Subject) -> None:
    started = time.monotonic()
    futures = [subject.chat.submit(one) for one in requests(12)]
    assert time.monotonic() - started < 1  # submitting is no waiting
    replies = [future.result(REPLY_S) for future in futures]
    whole = [Line.model_validate_json(reply.text) for reply in replies if reply.finish_reason == "stop"]
    assert len(whole) >= 9  # a model of 135M now and then fills the reply with white space
    assert len({line.utterance for line in whole}) > 1
    assert all(0 < reply.completion_tokens <= REQUEST.max_tokens for reply in replies)
    assert all(reply.prompt_tokens > 0 for reply in replies)


def test_the_same_request_gets_the_same_text_whatever_runs_beside_it(subject: Subject) -> None:
    if not subject.repeats:
        pytest.skip(f"{subject.backend} does not promise it")
    beside = [subject.chat.submit(one) for one in requests(8)]
    alone = subject.chat.submit(replace(REQUEST, seed=3)).result(REPLY_S)
    assert beside[3].result(REPLY_S).text == alone.text
    assert beside[3].result(REPLY_S).text != beside[4].result(REPLY_S).text


def test_a_reply_that_reaches_max_tokens_says_so(subject: Subject) -> None:
    reply = subject.chat.submit(replace(REQUEST, schema=None, max_tokens=3)).result(REPLY_S)
    assert reply.finish_reason == "length"
    assert reply.completion_tokens == 3


LETTERS = replace(
    REQUEST,
    messages=(Message("user", "A) calm\nB) loud\nHow does a sailor speak? Answer with the letter alone."),),
    schema=None,
    max_tokens=1,
    top_logprobs=MAX_TOP_LOGPROBS,
)


def test_the_first_tokens_alternatives_come_with_their_probabilities(subject: Subject) -> None:
    reply = subject.chat.submit(LETTERS).result(REPLY_S)
    tokens, logprobs = zip(*reply.first_token, strict=True)
    assert {"A", "B"} <= {token.strip() for token in tokens}
    assert len(tokens) <= MAX_TOP_LOGPROBS
    assert list(logprobs) == sorted(logprobs, reverse=True)
    assert 0 < sum(math.exp(logprob) for logprob in logprobs) < 1 + 1e-3
    fewer = subject.chat.submit(replace(LETTERS, top_logprobs=1)).result(REPLY_S)
    assert [token for token, _ in fewer.first_token] == [tokens[0]]
    if subject.repeats:
        assert subject.chat.submit(LETTERS).result(REPLY_S) == reply


def test_the_probabilities_are_the_models_own_whatever_is_sampled(subject: Subject) -> None:
    cold, hot = (
        subject.chat.submit(replace(LETTERS, temperature=temperature, min_p=0.0)).result(REPLY_S)
        for temperature in (0.0, 1.9)
    )
    np.testing.assert_allclose(
        [logprob for _, logprob in cold.first_token[:5]], [logprob for _, logprob in hot.first_token[:5]], atol=0.05
    )


def test_no_alternatives_come_unasked(subject: Subject) -> None:
    assert subject.chat.submit(replace(LETTERS, top_logprobs=0)).result(REPLY_S).first_token == ()


def test_a_reply_under_a_schema_has_alternatives_too(subject: Subject) -> None:
    reply = subject.chat.submit(replace(REQUEST, top_logprobs=5)).result(REPLY_S)
    assert 1 <= len(reply.first_token) <= 5
    assert all(math.isfinite(logprob) for _, logprob in reply.first_token)


def test_a_server_without_probabilities_is_not_asked_again() -> None:
    with ScriptedServer(lambda number, body: Answer(body=completion(body, logprobs=None))) as server:
        chat = open_chat("openai", ChatSettings("m", base_url=server.base_url))
        error = chat.submit(LETTERS).exception(REPLY_S)
        chat.close()
    assert isinstance(error, ModelError)
    assert not isinstance(error, DeferredError)
    assert "no token probabilities" in str(error)
    assert len(server.calls) == 1


def test_what_a_grammar_forbids_is_no_alternative() -> None:
    ranked = rank_tokens([("b", -2.0), ("x", -math.inf), ("a", -0.5), ("c", -2.0)], 2)
    assert ranked == (("a", -0.5), ("b", -2.0))


def test_a_word_that_is_to_be_avoided_is_not_written_where_the_engine_can_forbid_it(subject: Subject) -> None:
    free = replace(REQUEST, schema=None, max_tokens=24, temperature=0.0)
    text = subject.chat.submit(free).result(REPLY_S).text
    word = max(re.findall(r"(?<= )[a-z]{4,}(?= )", text) or ["sailor"], key=text.count)
    reply = subject.chat.submit(replace(free, avoid_words=(word,))).result(REPLY_S)
    assert reply.completion_tokens > 0
    if subject.backend == "llama":  # the others take no notice
        assert f" {word} " not in reply.text


def test_a_prompt_that_is_too_long_is_a_model_error(subject: Subject) -> None:
    if subject.backend in ("echo", "openai", "server"):
        pytest.skip("a double has no end, and a server's 400 ends its client")
    long = replace(REQUEST, messages=(Message("user", "word " * 3000),))
    assert isinstance(subject.chat.submit(long).exception(REPLY_S), ModelError)
    assert subject.chat.submit(replace(REQUEST, schema=None, max_tokens=3)).result(REPLY_S).text


def test_close_drops_what_is_in_flight(subject: Subject) -> None:  # the last one, since nothing is answered after it
    long = [replace(one, schema=None, max_tokens=400) for one in requests(40)]
    futures = [subject.chat.submit(one) for one in long]
    subject.chat.close()
    for future in futures:
        try:
            future.result(5)
        except (DeferredError, CancelledError):
            continue
    subject.chat.close()  # twice does no harm


def test_echo_is_deterministic_and_varied() -> None:
    free = replace(REQUEST, schema=None)
    texts = [reply_to(replace(free, seed=seed)).text for seed in range(3000)]
    assert len(set(texts)) > 2990
    assert all(8 <= len(text.split()) <= 16 and text.startswith("I ") for text in texts)
    assert texts[5] == reply_to(replace(free, seed=5)).text


def test_echo_fills_every_kind_of_field() -> None:
    schema = {
        "$defs": {"Turn": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 25}}}},
        "type": "object",
        "properties": {
            "character": {"type": "string"},
            "names": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "score": {"type": "integer", "minimum": 3, "maximum": 4},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "turns": {"type": "array", "items": {"$ref": "#/$defs/Turn"}, "minItems": 2, "maxItems": 5},
            "note": {"anyOf": [{"type": "string", "minLength": 150}, {"type": "null"}]},
            "kind": {"const": "x"},
        },
    }
    story = "Then Helga met the King. He gave Helga a boat and Old Peter said: No."
    request = ChatRequest((Message("user", story),), json.dumps(schema), 500, 0.8, 1)
    filled = json.loads(reply_to(request).text)
    assert find_names(story) == ["Helga", "King", "Old", "Peter"]
    assert {filled["character"], *filled["names"]} <= {"Helga", "King", "Old", "Peter"}
    assert len(set(filled["names"])) == 2
    assert filled["score"] in (3, 4)
    assert 0 <= filled["share"] <= 1
    assert 2 <= len(filled["turns"]) <= 5
    assert all(len(turn["text"]) <= 25 for turn in filled["turns"])
    assert len(filled["note"]) >= 150
    assert filled["kind"] == "x"


def test_echo_makes_faults_by_share() -> None:
    chat = open_chat("echo", ChatSettings("echo", options={"faults": {"garbage": 0.1, "truncated": 0.2}}))
    replies = [chat.submit(one).result() for one in requests(1000)]
    cut = sum(reply.finish_reason == "length" for reply in replies)
    garbage = sum("what you asked for" in reply.text for reply in replies)
    assert 150 < cut < 250
    assert 60 < garbage < 140


@pytest.mark.parametrize(
    "options", [{"fault": {}}, {"faults": {"fire": 0.1}}, {"faults": {"garbage": 2}}, {"delay_s": -1}]
)
def test_echo_refuses_options_it_does_not_know(options: dict) -> None:
    with pytest.raises(InputError):
        open_chat("echo", ChatSettings("echo", options=options))


def test_echo_with_a_delay_answers_later_and_closes_at_once() -> None:
    chat = open_chat("echo", ChatSettings("echo", slots=2, options={"delay_s": 30}))
    futures = [chat.submit(one) for one in requests(5)]
    started = time.monotonic()
    chat.close()
    assert time.monotonic() - started < 5
    assert all(isinstance(future.exception(5), DeferredError) for future in futures)


def test_a_scripted_chat_records_and_raises() -> None:
    answers: Iterator[str | Exception | ChatReply] = iter(["hello there", DeferredError("not now"), reply_to(REQUEST)])
    chat = ScriptedChat(lambda request: next(answers))
    first, second, third = (chat.submit(one) for one in requests(3))
    assert first.result().completion_tokens == 2
    assert isinstance(second.exception(), DeferredError)
    assert third.result() == reply_to(REQUEST)
    assert chat.requests == requests(3)


def test_an_unknown_backend_is_named_with_the_closest_one() -> None:
    with pytest.raises(InputError, match="'lama' is unknown") as caught:
        open_chat("lama", ChatSettings("m"))
    assert "Did you mean 'llama'? Known: echo, llama, vllm, openai" in str(caught.value)
    with pytest.raises(InputError, match="encoder backend 'echo' is unknown"):
        open_encoder("echo", EncoderSettings("m"))


def test_a_backend_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAT, "llama", replace(CHAT["llama"], modules=("no_such_engine",)))
    assert is_installed(CHAT["echo"])
    assert not is_installed(CHAT["llama"])
    with pytest.raises(ModelError, match="no_such_engine") as caught:
        open_chat("llama", ChatSettings("m"))
    assert caught.value.next_step == "pip install 'affectory[embedded]'"
