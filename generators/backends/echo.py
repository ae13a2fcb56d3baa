# SPDX-License-Identifier: Apache-2.0
"""The scripted test double of a Chat model: the same request always gets the same reply.

`open_chat` serves recipes (options: `faults: {garbage: share, truncated: share}` and `delay_s`); `ScriptedChat` serves
tests that say what each reply is. A token is a word here.
"""

import hashlib
import json
import math
import random
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

from generators.backends import echo_words
from generators.backends.endings import closed_error
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings, TokenLogprobs, rank_tokens
from validators.errors import InputError, ModelError

Json = dict[str, object] | list[object] | str | int | float | bool | None
Schema = Mapping[str, object]

FAULTS = ("garbage", "truncated")
TOLD_FIELDS = frozenset({"situation"})
"""Fields in which nobody speaks: their sentences are told of somebody."""
NAME_FIELDS = frozenset({"character", "characters", "names"})
GARBAGE = "Sure! Here is what you asked for:\n{utterance: I will not, 'and"
"""Looks like a model's chatter around JSON that is none."""


def open_chat(settings: ChatSettings) -> Chat:
    """Start the double that answers from the schema alone."""
    faults, delay_s = _read_options(settings.options)
    return ScriptedChat(
        lambda request: reply_to(request, faults), model=settings.name, slots=settings.slots, delay_s=delay_s
    )


class ScriptedChat:
    """A Chat whose replies a function gives; it records the requests in the order they were submitted."""

    def __init__(
        self,
        replies: Callable[[ChatRequest], ChatReply | str | Exception],
        *,
        model: str = "scripted",
        slots: int = 8,
        delay_s: float = 0.0,
    ) -> None:
        self.model = model
        self.slots = slots
        self.requests: list[ChatRequest] = []
        self._replies = replies
        self._delay_s = delay_s
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="echo") if delay_s else None

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Answer at once, or after the delay in a thread."""
        self.requests.append(request)  # append is atomic, so that callers in several threads need no lock
        future: Future[ChatReply] = Future()
        future.set_running_or_notify_cancel()  # from here on only this class ends the future
        if self._closed.is_set():
            future.set_exception(closed_error())
        elif self._pool is None:
            self._settle(request, future)
        else:
            self._pool.submit(self._settle_later, request, future)
        return future

    def close(self) -> None:
        """Drop what is waiting; its futures raise DeferredError."""
        self._closed.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True)  # short: every waiting thread sees the event

    def _settle_later(self, request: ChatRequest, future: Future[ChatReply]) -> None:
        if self._closed.wait(self._delay_s):
            future.set_exception(closed_error())
        else:
            self._settle(request, future)

    def _settle(self, request: ChatRequest, future: Future[ChatReply]) -> None:
        try:
            reply = self._replies(request)
        except Exception as error:  # noqa: BLE001 - a script's own failure belongs to whoever asked
            future.set_exception(error)
            return
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply if isinstance(reply, ChatReply) else _as_reply(request, reply))


def reply_to(request: ChatRequest, faults: Mapping[str, float] | None = None) -> ChatReply:
    """Make the reply to a request: text that fits its schema, or a fault for the given share of requests."""
    rng = random.Random(_digest(request))  # noqa: S311 - repeatable, not secret
    draw = rng.random()
    content = json.dumps(_Writer(rng, request).value(), ensure_ascii=False) if request.schema else _sentence(rng)
    for fault in FAULTS:
        share = (faults or {}).get(fault, 0.0)
        if draw < share:
            return _faulty(fault, content, request)
        draw -= share
    return _as_reply(request, content)


def _faulty(fault: str, content: str, request: ChatRequest) -> ChatReply:
    if fault == "garbage":
        return _as_reply(request, GARBAGE)
    cut = content[: max(1, len(content) // 2)]
    return ChatReply(cut, "length", _count_prompt(request), len(cut.split()), _first_token(request, cut))


class _Writer:
    """Walks a JSON schema and fills it in."""

    def __init__(self, rng: random.Random, request: ChatRequest) -> None:
        self._rng = rng
        self._root = cast(Schema, json.loads(request.schema or "{}"))
        user_text = "\n".join(message.content for message in request.messages if message.role == "user")
        self._names = find_names(user_text)

    def value(self) -> Json:
        return self._fill(self._root, field="")

    def _fill(self, schema: Schema, field: str) -> Json:
        schema = self._resolve(schema)
        if "const" in schema:
            return cast(Json, schema["const"])
        if "enum" in schema:
            return self._rng.choice(cast(list[Json], schema["enum"]))
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        makers: dict[object, Callable[[Schema, str], Json]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda _schema, _field: self._rng.random() < 0.5,
            "null": lambda _schema, _field: None,
        }
        if kind not in makers:
            raise ModelError(f"echo cannot fill a schema of type {kind!r} (field {field!r})")
        return makers[kind](schema, field)

    def _resolve(self, schema: Schema) -> Schema:
        while True:
            if "$ref" in schema:
                node: object = self._root
                for part in cast(str, schema["$ref"]).removeprefix("#/").split("/"):
                    node = cast(Schema, node)[part]
                schema = cast(Schema, node)
            elif choices := cast(list[Schema], schema.get("anyOf") or schema.get("oneOf") or []):
                schema = self._rng.choice([one for one in choices if one.get("type") != "null"] or choices)
            else:
                return schema

    def _object(self, schema: Schema, field: str) -> Json:
        properties = cast(dict[str, Schema], schema.get("properties", {}))
        return {name: self._fill(one, name) for name, one in properties.items()}

    def _array(self, schema: Schema, field: str) -> Json:
        least = cast(int, schema.get("minItems", 0))
        most = cast(int, schema.get("maxItems", max(least, 3)))
        items = cast(Schema, schema.get("items", {"type": "string"}))
        wanted = self._rng.randint(max(least, min(1, most)), most)
        values: list[object] = []
        for _ in range(4 * wanted):  # a few more draws than wanted, so that equal items can be passed over
            if len(values) == wanted:
                break
            value = self._fill(items, field)
            if value not in values:
                values.append(value)
        while len(values) < least:
            values.append(self._fill(items, field))
        return values

    def _integer(self, schema: Schema, field: str) -> Json:
        low, high = _bounds(schema, 10)
        return self._rng.randint(int(low), int(high))

    def _number(self, schema: Schema, field: str) -> Json:
        low, high = _bounds(schema, 1)
        return round(self._rng.uniform(low, high), 3)

    def _string(self, schema: Schema, field: str) -> Json:
        least = cast(int, schema.get("minLength", 0))
        most = cast(int, schema.get("maxLength", 10_000))
        fitting = [name for name in self._names if least <= len(name) <= most]
        if field in NAME_FIELDS and fitting:
            return self._rng.choice(fitting)
        text = _fit(self._rng, least, most)
        return _told_of(self._names[-1] if self._names else "Somebody", text)[:most] if field in TOLD_FIELDS else text


def find_names(text: str) -> list[str]:
    """Capitalised words of a text that are no common word, in order, each once."""
    words = re.findall(r"\b[A-Z][a-z]+\b", text)
    return list(dict.fromkeys(word for word in words if word not in echo_words.COMMON_CAPITALISED))


def _sentence(rng: random.Random) -> str:
    """Make a first-person sentence of 8 to 16 words."""
    what = f"I {rng.choice(echo_words.VERBS)} the {rng.choice(echo_words.THINGS)}"
    where = rng.choice(echo_words.PLACES)
    clause = f"{rng.choice(echo_words.LINKS)} {rng.choice(echo_words.PEOPLE)} {rng.choice(echo_words.DEEDS)}."
    text = f"{what} {where} {clause}"
    return text if len(text.split()) <= 16 else f"{what} {clause}"


def _told_of(name: str, text: str) -> str:
    """Turn a first-person sentence into one about somebody."""
    told = {"I": name, "my": "the", "me": "him", "us": "them", "our": "their"}
    return re.sub(r"\b(I|my|me|us|our)\b", lambda found: told[found.group()], text)


def _fit(rng: random.Random, least: int, most: int) -> str:
    text = _sentence(rng)
    while len(text) < least:
        text = f"{text} {_sentence(rng)}"
    if len(text) <= most:
        return text
    cut = text[:most]
    whole_words = cut.rpartition(" ")[0].rstrip(".") + "."
    return whole_words if len(whole_words) >= max(least, 2) else cut


def _bounds(schema: Schema, default_span: int) -> tuple[float, float]:
    low = cast(float, schema.get("minimum", 0))
    return low, cast(float, schema.get("maximum", low + default_span))


def _as_reply(request: ChatRequest, text: str) -> ChatReply:
    """Count words as tokens, and cut the text where `max_tokens` of them are reached."""
    words = list(re.finditer(r"\S+", text))
    prompt_tokens = _count_prompt(request)
    first_token = _first_token(request, text)
    if len(words) > request.max_tokens:
        cut = text[: words[request.max_tokens - 1].end()]
        return ChatReply(cut, "length", prompt_tokens, request.max_tokens, first_token)
    return ChatReply(text, "stop", prompt_tokens, len(words), first_token)


def _first_token(request: ChatRequest, text: str) -> TokenLogprobs:
    """Make up how probable the reply's first word and the words of the prompt are.

    A prompt that offers answers has them there, so that whoever reads their probabilities finds some.
    """
    if not request.top_logprobs:
        return ()
    prompt = " ".join(message.content for message in request.messages)
    words = list(dict.fromkeys([*text.split(maxsplit=1)[:1], *re.findall(r"\w+", prompt)]))
    rng = random.Random(_digest(request))  # noqa: S311 - repeatable, not secret
    weights = [1e-6 + rng.expovariate(1.0) ** 2 for _ in words]  # squared: some answers stand out, as a model's do
    return rank_tokens(
        ((word, math.log(weight / sum(weights))) for word, weight in zip(words, weights, strict=True)),
        request.top_logprobs,
    )


def _count_prompt(request: ChatRequest) -> int:
    return sum(len(message.content.split()) for message in request.messages)


def _digest(request: ChatRequest) -> int:
    parts = [str(request.seed), request.schema or ""]
    parts += [part for message in request.messages for part in (message.role, message.content)]
    return int.from_bytes(hashlib.sha256("\x00".join(parts).encode()).digest())


def _read_options(options: Mapping[str, object]) -> tuple[Mapping[str, float], float]:
    if unknown := set(options) - {"faults", "delay_s"}:
        raise InputError(f"echo does not know the option {sorted(unknown)[0]!r}", next_step="Known: faults, delay_s.")
    faults = options.get("faults") or {}
    if not isinstance(faults, Mapping) or set(faults) - set(FAULTS):
        raise InputError("echo's faults must give a share for some of: " + ", ".join(FAULTS))
    shares = {str(fault): float(share) for fault, share in faults.items()}
    if any(share < 0 for share in shares.values()) or sum(shares.values()) > 1:
        raise InputError("echo's faults must be shares of 0 or more that sum to 1 at most")
    delay_s = options.get("delay_s", 0.0)
    if not isinstance(delay_s, int | float) or delay_s < 0:
        raise InputError("echo's delay_s must be a number of seconds")
    return shares, float(delay_s)
