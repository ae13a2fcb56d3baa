# SPDX-License-Identifier: Apache-2.0
"""Any OpenAI-compatible server: vLLM, llama.cpp, TGI, Ollama or a hosted one.

One event loop in a thread of its own carries all calls. What may go away is asked again (429, 5xx, a lost connection,
a reply that is none) and ends as `DeferredError`; what stays wrong (a key, a model name) stops all requests at once.
"""

import asyncio
import random
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from generators.backends.endings import closed_error, copy_error
from generators.backends.openai_wire import Failure, check_options, read_failure, read_reply, request_body
from generators.backends.pace import Pace, Sleep, Ticket
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings
from validators.errors import DeferredError, InputError, ModelError

if TYPE_CHECKING:
    import aiohttp

TRIES = 5  # per request
MAX_STORM = 8  # rounds of 429 without a reply: about 90 s of waiting, longer than a limit per minute lasts
BREAKER = 10  # requests in a row that ended without a reply: the server is down, more calls cost time and help nobody
CONNECT_TIMEOUT_S = 5.0
MAX_BODY_BYTES = 2**20  # a reply of 1 MiB is no reply; without a cap a broken server fills the memory
READ_BYTES = 2**16
CLOSE_TIMEOUT_S = 5.0


def open_chat(settings: ChatSettings) -> Chat:
    """Start the client; the server is first called when a request is submitted."""
    return OpenAIChat(settings)


def backoff_s(rng: random.Random, tries: int) -> float:
    """Draw a wait after so many failed tries: full jitter, so that waiting requests do not come back together."""
    return rng.uniform(0, min(60.0, 2.0 * 2.0 ** (tries - 1)))


class OpenAIChat:
    """Keeps up to `slots` calls in flight, fewer while the server says 429. `sleep` is replaced in tests."""

    def __init__(self, settings: ChatSettings, *, sleep: Sleep = asyncio.sleep) -> None:
        self._base_url = _check_base_url(settings.base_url)
        check_options(settings.options)
        _check_key(settings)
        self._settings = settings
        self._sleep = sleep
        self._pace = Pace(max(1, settings.slots), BREAKER, sleep)
        self._failed_in_a_row = 0
        self._stopped: ModelError | None = None
        self._asking: dict[asyncio.Task[None], Future[ChatReply]] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._gate = threading.Lock()  # between submit and close
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-chat", daemon=True)
        self._thread.start()
        self._session = asyncio.run_coroutine_threadsafe(self._open_session(), self._loop).result()

    @property
    def model(self) -> str:
        """The name that the server knows, with the revision where the recipe gives one."""
        name, revision = self._settings.name, self._settings.revision
        return f"{name}@{revision}" if revision else name

    @property
    def slots(self) -> int:
        """How many calls are in flight at most."""
        return self._settings.slots

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Hand a request to the loop."""
        future: Future[ChatReply] = Future()
        future.set_running_or_notify_cancel()  # from here on only this class ends the future
        with self._gate:
            if self._closed:
                future.set_exception(closed_error())
            else:
                self._loop.call_soon_threadsafe(self._start, request, future)
        return future

    def close(self) -> None:
        """Drop all requests and end the thread."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result(CLOSE_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT_S)
        self._loop.close()

    # What follows runs on the loop's thread alone.

    async def _open_session(self) -> "aiohttp.ClientSession":
        import aiohttp

        key = self._settings.api_key
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the pace is the limit
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # neither a proxy nor a .netrc of the user gets to see the text or the key
        )

    def _start(self, request: ChatRequest, future: Future[ChatReply]) -> None:
        if self._stopped is not None:
            future.set_exception(copy_error(self._stopped))
            return
        task = self._loop.create_task(self._answer(request, future))
        self._asking[task] = future
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        future = self._asking.pop(task)
        if not future.done():  # a bug of ours must not leave the caller waiting
            error = None if task.cancelled() else task.exception()
            future.set_exception(error or closed_error())

    async def _answer(self, request: ChatRequest, future: Future[ChatReply]) -> None:
        rng = random.Random(request.seed)  # noqa: S311 - spreads waits, guards nothing
        failure = await self._try(request, future, rng, wait_s=0.0, again=False)
        if failure is None:
            return
        self._pace.begin_again()
        try:
            for tries in range(1, TRIES):
                wait_s = backoff_s(rng, tries) if failure.wait_s is None else failure.wait_s
                failure = await self._try(
                    request, future, rng, wait_s=0.0 if failure.is_rate_limit else wait_s, again=True
                )
                if failure is None:
                    return
        finally:
            self._pace.end_again()
        future.set_exception(self._deferred(failure, f"asked {TRIES} times"))
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= BREAKER:
            self._stop(self._deferred(failure, f"{BREAKER} requests in a row failed"))

    async def _try(
        self, request: ChatRequest, future: Future[ChatReply], rng: random.Random, *, wait_s: float, again: bool
    ) -> Failure | None:
        """Make one call; None where the future has its end."""
        if wait_s:
            await self._sleep(wait_s)
        ticket = await self._pace.enter(again=again)
        outcome = await self._call(request)
        if isinstance(outcome, ChatReply):
            self._failed_in_a_row = 0
            self._pace.succeed()
            future.set_result(outcome)
            return None
        self._note(outcome, ticket, rng)
        if self._stopped is not None:
            future.set_exception(copy_error(self._stopped))
            return None
        return outcome

    def _note(self, failure: Failure, ticket: Ticket, rng: random.Random) -> None:
        if failure.is_rate_limit:
            wait_s = backoff_s(rng, self._pace.storm + 1) if failure.wait_s is None else failure.wait_s
            self._pace.slow_down(ticket, wait_s)
        else:
            self._pace.leave()
        if failure.is_final:
            self._stop(failure.error)
        elif self._pace.storm >= MAX_STORM:
            self._stop(self._deferred(failure, f"{MAX_STORM} waits did not help"))

    async def _call(self, request: ChatRequest) -> ChatReply | Failure:
        """Make one call. Errors of the client are named but not chained: theirs hold the headers, and so the key."""
        import aiohttp

        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._calling.add(task)
        try:
            return await self._post(request)
        except aiohttp.ClientSSLError as error:
            what, final = f"no secure connection to the server ({type(error).__name__})", True
        except TimeoutError:
            what, final = f"the server did not answer within {self._settings.timeout_s:g} s", False
        except (aiohttp.ClientError, OSError) as error:
            what, final = f"the connection to the server failed ({type(error).__name__})", False
        finally:
            self._calling.discard(task)
        error_type = ModelError if final else DeferredError
        return Failure(error_type(what, where=self._base_url, next_step="Check that the server runs at this address."))

    async def _post(self, request: ChatRequest) -> ChatReply | Failure:
        url = f"{self._base_url}/chat/completions"
        body = request_body(request, self._settings)
        async with self._session.post(url, json=body, allow_redirects=False) as response:
            content = bytearray()
            async for piece in response.content.iter_chunked(READ_BYTES):
                content += piece
                if len(content) > MAX_BODY_BYTES:
                    response.close()
                    return Failure(DeferredError(f"the server's reply is longer than {MAX_BODY_BYTES} bytes"))
        if response.status == 200:
            return read_reply(bytes(content), request)
        return read_failure(response.status, response.headers, bytes(content), self._settings, self._base_url)

    def _stop(self, error: ModelError) -> None:
        """End every request that is not at the server, and all that come later, with the same error."""
        if self._stopped is None:
            self._stopped = error
            self._pace.close()
            for task, future in self._asking.items():
                if task not in self._calling and not future.done() and task is not asyncio.current_task():
                    future.set_exception(copy_error(error))
                    task.cancel()

    async def _shut_down(self) -> None:
        self._stopped = self._stopped or closed_error()
        tasks = list(self._asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pace.close()
        await self._session.close()

    def _deferred(self, last: Failure, why: str) -> DeferredError:
        next_step = last.error.next_step or "Run again later: rows without a reply stay open."
        return DeferredError(f"{last.error.what} ({why})", where=self._base_url, next_step=next_step)


def _check_base_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("base_url must be an http or https address", next_step="Such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("base_url must not hold a name, a password or a query", next_step="Give the key by itself.")
    return base_url.rstrip("/")


def _check_key(settings: ChatSettings) -> None:
    if settings.api_key is None:
        return
    key = settings.api_key.get_secret_value()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"the key given for {settings.base_url} is empty or has characters that no key has")
