# SPDX-License-Identifier: Apache-2.0
"""The OpenAI chat format: a request's body, a reply's parts, and what each HTTP status means for us."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from generators.chat import (
    MAX_TOP_LOGPROBS,
    ChatReply,
    ChatRequest,
    ChatSettings,
    FinishReason,
    TokenLogprobs,
    rank_tokens,
)
from validators.errors import DeferredError, InputError, ModelError

MAX_RETRY_AFTER_S = 300.0  # a server that wants a longer rest is asked again in the next run
MAX_SEED = 2**31  # llama.cpp reads 32 bits and takes the largest for "random"
OURS = frozenset({"messages", "max_tokens", "seed", "response_format", "stream", "n", "logprobs", "top_logprobs"})
"""Fields that options must not change: they carry the request, or the reply would have another form."""
AGAIN = frozenset({408, 425, 429})
"""Client errors that a later call may not get; all of 5xx are asked again too."""
FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop", "eos_token": "stop", "length": "length", "content_filter": "content_filter",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a usable reply. A `DeferredError` may be asked again, any other `ModelError` stops everything."""

    error: ModelError
    is_rate_limit: bool = False
    wait_s: float | None = None
    """What the server asked for in Retry-After."""

    @property
    def is_final(self) -> bool:
        """Whether every other request would fail in the same way."""
        return not isinstance(self.error, DeferredError)


class _Message(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    content: str | None = None


class _Alternative(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    token: str
    logprob: float


class _Token(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    top_logprobs: list[_Alternative]


class _Logprobs(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    content: list[_Token]


class _Choice(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def check_options(options: Mapping[str, object]) -> None:
    """Refuse options that would change what a request asks for."""
    if clash := sorted(OURS & set(options)):
        raise InputError(f"the option {clash[0]!r} of the openai backend is set by each request")


def request_body(request: ChatRequest, settings: ChatSettings) -> dict[str, object]:
    """Write a request as JSON fields. An option replaces a field; one that is null leaves the field out."""
    body: dict[str, object] = {
        "model": settings.name,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed % MAX_SEED,
        "min_p": request.min_p,  # vLLM and llama.cpp take it; `min_p: null` for a server that refuses it
    }
    if request.schema is not None:
        schema = {"name": "reply", "strict": True, "schema": json.loads(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if most := request.top_logprobs:
        # one more, since vLLM's server gives a chosen token that is less probable in place of the last
        body |= {"logprobs": True, "top_logprobs": max(most, min(most + 1, MAX_TOP_LOGPROBS))}
    body.update(settings.options)
    return {field: value for field, value in body.items() if value is not None}


def read_reply(body: bytes, request: ChatRequest) -> ChatReply | Failure:
    """Parse a 200; what is no whole completion is asked again, a server without the probabilities asked for is not."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Failure(DeferredError(f"the server's reply is no chat completion ({first['type']} at {place or 'top'})"))
    choice = completion.choices[0]
    finish_reason = FINISH_REASONS.get(choice.finish_reason or "")
    if finish_reason is None:
        return Failure(DeferredError(f"the server ended its reply with the reason {choice.finish_reason!r}"))
    if choice.message.content is None and finish_reason == "stop":
        return Failure(DeferredError("the server's reply has no content"))
    if request.top_logprobs and choice.logprobs is None:
        return Failure(
            ModelError(
                "the server's reply has no token probabilities",
                next_step="Use a server that takes top_logprobs (vLLM, llama.cpp), or leave out what reads by them.",
            )
        )
    usage = completion.usage or _Usage()
    return ChatReply(
        text=choice.message.content or "",
        finish_reason=finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        first_token=_first_token(choice.logprobs, request.top_logprobs),
    )


def _first_token(logprobs: _Logprobs | None, most: int) -> TokenLogprobs:
    """Read the alternatives at the first token; a reply of no token at all has none."""
    tokens = logprobs.content if logprobs and most else []
    return rank_tokens(((one.token, one.logprob) for one in tokens[0].top_logprobs), most) if tokens else ()


def read_failure(
    status: int, headers: Mapping[str, str], body: bytes, settings: ChatSettings, base_url: str
) -> Failure:
    """Judge a status that is not 200; the server's words are repeated only where they cannot hold a key."""
    if status in AGAIN or status >= 500:
        error = DeferredError(f"the server answered {_phrase(status)}", where=base_url)
        return Failure(error, is_rate_limit=status == 429, wait_s=retry_after(headers))
    named = f" in {settings.api_key_env}" if settings.api_key_env else ""
    next_steps = {
        400: "Check the options and max_tokens: the server does not take this request as it is.",
        401: f"Check the key given for {base_url}{named}.",
        402: f"Check the credit of the account behind the key given for {base_url}{named}.",
        403: f"Check what the key given for {base_url}{named} may use.",
        404: f"Check base_url, which ends in /v1 for most servers, and the model name {settings.name!r}.",
    }
    if status < 400:
        return Failure(
            ModelError(
                f"the server answered {_phrase(status)}; redirects are not followed", where=base_url,
                next_step="Give the server's own address as base_url.",
            )
        )  # fmt: skip
    # A refused key is often echoed in part, which no filter for the whole key would see.
    detail = "" if status in (401, 402, 403) else _detail(body, settings)
    return Failure(
        ModelError(
            f"the server answered {_phrase(status)}{detail}", where=base_url,
            next_step=next_steps.get(status, next_steps[400]),
        )
    )  # fmt: skip


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds, or a date, which is compared with the server's own clock."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _detail(body: bytes, settings: ChatSettings) -> str:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = content.get("error", content) if isinstance(content, dict) else content
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return ": " + (message.replace(key, "[key]") if key else message)[:200]
