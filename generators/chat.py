# SPDX-License-Identifier: Apache-2.0
"""The Chat role: what every writer, whatever its engine, takes and gives."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import isfinite
from pathlib import PurePath
from typing import Literal, Protocol

from pydantic import SecretStr

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter"]
TokenLogprobs = tuple[tuple[str, float], ...]
"""Tokens, as text, with their natural-log probabilities, the most probable first."""

MAX_TOP_LOGPROBS = 20
"""What every backend gives: the OpenAI API and vLLM's server stop at 20 unless they are configured otherwise."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a Chat model.

    `schema` is a JSON schema as canonical JSON text (or None for free text); `max_tokens` bounds the reply and is
    always set; the same request and seed give the same reply where the engine allows it.
    """

    messages: tuple[Message, ...]
    schema: str | None
    max_tokens: int
    temperature: float
    seed: int
    min_p: float = 0.05  # drops the improbable tail, so that temperature 0.8 stays on topic (as llama.cpp's default)
    avoid_words: tuple[str, ...] = ()
    """Words that the reply is not to hold. A wish: an engine that can forbids them, another takes no notice."""
    top_logprobs: int = 0
    """How many alternatives to tell of at the first token of the reply; up to `MAX_TOP_LOGPROBS`."""
    writer: str = ""
    """Which of a run's writers is asked, by its name in the recipe; "" is the one that writes utterances."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A finished reply. `finish_reason` other than "stop" means that the text is not whole.

    `first_token` holds the alternatives at the first token, at most `top_logprobs` of them, and nothing unless asked.
    They are the model's own: temperature, `min_p` and seed do not change them. Whether a schema does is the engine's
    affair (vLLM masks before, llama.cpp after), so who reads probabilities asks without one.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    first_token: TokenLogprobs = ()


def rank_tokens(alternatives: Iterable[tuple[str, float]], most: int) -> TokenLogprobs:
    """Sort alternatives by probability, cut after `most`, and leave out what a grammar made impossible (-inf)."""
    possible = [(token, logprob) for token, logprob in alternatives if isfinite(logprob)]
    return tuple(sorted(possible, key=lambda pair: -pair[1])[:most])  # stable: equal ones keep the engine's order


class Chat(Protocol):
    """A Chat model that is kept busy by up to `slots` requests at a time.

    `submit` never blocks for the length of a reply. The future raises `DeferredError` when the model did not answer
    this time and `ModelError` when asking again will not help. A request per call, not a batch: rows are at different
    stages, and a batch call would hold the fast ones back for the slowest.
    """

    @property
    def model(self) -> str:
        """Name and revision (or hash) of the weights, as stored in every row."""
        ...

    @property
    def slots(self) -> int:
        """How many requests in flight keep the engine full."""
        ...

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Queue a request and return at once."""
        ...

    def close(self) -> None:
        """Stop the engine and free what it holds; requests in flight are dropped."""
        ...


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What a Chat backend needs to start. Which fields matter is up to the backend; see its module."""

    name: str
    """Model name, for rows and for a server's `model` field."""
    revision: str = ""
    """Commit of a Hub repository or sha256 of a file; part of `Chat.model`."""
    weights: PurePath | None = None
    """A GGUF file (llama) or a folder of safetensors (vllm); a server has its own."""
    slots: int = 8
    context_tokens: int = 4096
    """Longest prompt plus reply, in tokens, per request."""
    threads: int = 1
    base_url: str = ""
    """Of an OpenAI-compatible server, with its /v1."""
    api_key: SecretStr | None = None
    api_key_env: str = ""
    """The environment variable that the key was read from, to name it where the key does not do."""
    timeout_s: float = 120.0
    options: Mapping[str, object] = field(default_factory=dict)
    """Passed to the engine as it is (vllm: keyword arguments of `vllm.LLM`)."""
