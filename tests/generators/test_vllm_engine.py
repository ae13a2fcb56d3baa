# SPDX-License-Identifier: Apache-2.0
"""How the vllm backend feeds its engine and what it does when the engine fails, on an engine that is scripted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from generators.backends import vllm
from generators.backends.registry import open_chat
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings, Message
from validators.errors import DeferredError, InputError, ModelError

SETTINGS = ChatSettings("m", weights=Path("/models/m"), slots=3)
WAIT_S = 60


class ScriptedEngine:
    """Stands in for vLLM: a request is finished after as many steps as its max_tokens says."""

    def __init__(self, settings: ChatSettings) -> None:
        self.left: dict[str, int] = {}
        self.most_at_once = 0
        self.closed = False
        self.on_add: Callable[[ChatRequest], None] = lambda request: None
        self.on_step: Callable[[], None] = lambda: None

    def add(self, name: str, request: ChatRequest) -> None:
        self.on_add(request)
        self.left[name] = request.max_tokens
        self.most_at_once = max(self.most_at_once, len(self.left))

    def step(self) -> list[tuple[str, ChatReply | ModelError]]:
        self.on_step()
        self.left = {name: left - 1 for name, left in self.left.items()}
        done = [name for name, left in self.left.items() if left <= 0]
        for name in done:
            del self.left[name]
        return [(name, ChatReply(name, "stop", 1, 1)) for name in done]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    made = ScriptedEngine(SETTINGS)
    monkeypatch.setattr(vllm, "_Engine", lambda settings: made)
    return made


@pytest.fixture
def chat(engine: ScriptedEngine) -> Chat:
    return vllm.open_chat(SETTINGS)


def asks(max_tokens: int, text: str = "Write.") -> ChatRequest:
    return ChatRequest((Message("user", text),), None, max_tokens, 0.8, 1)


def test_a_short_reply_does_not_wait_for_a_long_one(engine: ScriptedEngine, chat: Chat) -> None:
    slow, fast = chat.submit(asks(10**9)), chat.submit(asks(1))
    fast.result(WAIT_S)
    assert not slow.done()
    chat.close()
    assert isinstance(slow.exception(WAIT_S), DeferredError)
    assert engine.closed


def test_no_more_than_the_slots_are_in_the_engine(engine: ScriptedEngine, chat: Chat) -> None:
    for future in [chat.submit(asks(5)) for _ in range(20)]:
        future.result(WAIT_S)
    chat.close()
    assert engine.most_at_once == 3


def test_a_request_that_does_not_fit_fails_alone(engine: ScriptedEngine, chat: Chat) -> None:
    def refuse(request: ChatRequest) -> None:
        if "long" in request.messages[0].content:
            raise ValueError("the prompt is too long")

    engine.on_add = refuse
    good, bad, later = chat.submit(asks(3)), chat.submit(asks(3, "long")), chat.submit(asks(3))
    assert "too long" in str(bad.exception(WAIT_S))
    assert good.result(WAIT_S).finish_reason == later.result(WAIT_S).finish_reason == "stop"
    chat.close()


@pytest.mark.parametrize("where", ["on_add", "on_step"])
def test_an_engine_that_dies_fails_every_request(where: str, engine: ScriptedEngine, chat: Chat) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("out of memory")

    setattr(engine, where, die)
    futures = [chat.submit(asks(3)) for _ in range(9)]
    errors = [future.exception(WAIT_S) for future in futures]
    late = chat.submit(asks(3)).exception(WAIT_S)
    assert {type(error) for error in [*errors, late]} == {ModelError}
    assert all("RuntimeError: out of memory" in str(error) for error in errors)
    chat.close()
    assert engine.closed


def test_a_model_that_does_not_load_is_an_error_of_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: ChatSettings) -> None:
        raise ModelError("vLLM cannot load m")

    monkeypatch.setattr(vllm, "_Engine", fail)
    with pytest.raises(ModelError, match="cannot load"):
        vllm.open_chat(SETTINGS)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="needs weights"):
        vllm.open_chat(ChatSettings("m"))
    with pytest.raises(InputError, match="trust_remote_code"):
        open_chat("vllm", ChatSettings("m", weights=Path("/m"), options={"trust_remote_code": True}))
