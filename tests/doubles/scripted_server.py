# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server on loopback that answers, or misbehaves, as a script tells it."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from generators.backends.echo import reply_to
from generators.chat import ChatRequest, Message

HANG_S = 30.0  # longer than any test waits


@dataclass(frozen=True)
class Answer:
    """What the server does with one call."""

    status: int = 200
    body: bytes | None = None
    """None: a proper completion made by the echo backend."""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    act: str = ""
    """reset: cut the connection; cut: promise more than is sent; hang: never answer."""
    delay_s: float = 0.0


GOOD = Answer()


@dataclass(frozen=True)
class Call:
    """One call as the server saw it."""

    body: dict
    authorization: str


class ScriptedServer:
    """Runs in a thread. `script` gets the number of the call, from 0, and its body."""

    def __init__(self, script: Callable[[int, dict], Answer] = lambda number, body: GOOD) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.base_url = ""
        self._at_once = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-server", daemon=True)

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v1"

    async def _stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        number = len(self.calls)
        self.calls.append(Call(body, http.headers.get("Authorization", "")))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._act(self.script(number, body), http, body)
        finally:
            self._at_once -= 1

    async def _act(self, answer: Answer, http: web.Request, body: dict) -> web.StreamResponse:
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.act == "hang":
            await asyncio.sleep(HANG_S)
        if answer.act == "reset":
            assert http.transport is not None
            http.transport.abort()
        content = completion(body) if answer.body is None else answer.body
        if answer.act == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await response.prepare(http)
            await response.write(content[: len(content) // 2])
            assert http.transport is not None
            http.transport.close()
            return response
        return web.Response(
            status=answer.status, body=content, headers=answer.headers, content_type=answer.content_type
        )


def completion(body: dict, **changes: object) -> bytes:
    """Make the reply of a healthy server, or one whose choice has other fields."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    request = ChatRequest(
        tuple(Message(message["role"], message["content"]) for message in body["messages"]),
        None if schema is None else json.dumps(schema, sort_keys=True),
        body["max_tokens"],
        body["temperature"],
        body["seed"],
        top_logprobs=body.get("top_logprobs", 0),
    )
    reply = reply_to(request)
    choice: dict = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text},
        "finish_reason": reply.finish_reason,
    }
    if body.get("logprobs"):
        top = [{"token": token, "logprob": logprob} for token, logprob in reply.first_token]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    usage = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
    return json.dumps({"choices": [{**choice, **changes}], "usage": usage}).encode()
