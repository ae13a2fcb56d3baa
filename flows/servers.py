# SPDX-License-Identifier: Apache-2.0
"""The servers of a run: found, started one after the other on loopback, waited for, and ended with the run.

Each runs below `server_guard.py`, which the kernel ends with us. Its key is made for this start, and stands only in its
environment; its log is in the run's work folder.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from flows import server_guard
from flows.atomic import storage_errors
from flows.idle_engines import let_wait
from flows.ports import free_port
from flows.serve_role import Serve
from flows.server_log import ServerLog
from flows.vllm_python import find_vllm
from generators.backends.vllm_serve import KILLED, Serving, VllmFound, command, environment, next_step
from generators.chat import ChatSettings
from validators.errors import InputError, ModelError

ASK_EVERY_S = 0.25
TELL_EVERY_S = 15.0
ASK_TIMEOUT_S = 5.0
STOP_S = server_guard.GRACE_S + server_guard.KILL_S + 5.0
PORT_TRIES = 3  # another process may take the port between our look and the server's start
GPU_SHARE = 0.9  # what vLLM takes by itself, too; the rest is for the driver and what fragments
BESIDE_WEIGHTS_BYTES = 4 * 2**30
"""Reckoned for each server beside its weights when memory is divided, so that a small model has room for its cache."""


@dataclass(frozen=True)
class Served:
    """A writer that gets a server: how it is called in messages and logs, and what it is started with."""

    name: str
    settings: ChatSettings
    serve: Serve
    python: Path
    found: VllmFound


class Server:
    """A server that has come up. `wait` blocks until it ends."""

    def __init__(
        self, served: Served, process: subprocess.Popen[bytes], port: int, key: SecretStr, log: ServerLog
    ) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.key = key
        self._served = served
        self._process = process
        self._log = log

    @property
    def settings(self) -> ChatSettings:
        """What its client is opened with: the engine's options are the server's affair."""
        return replace(
            self._served.settings, base_url=self.base_url, api_key=self.key, weights=None, threads=1, options={}
        )

    @property
    def pid(self) -> int:
        """The process that holds it and all that it started."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait(self) -> ModelError:
        """Block until it ends, and say how."""
        return _ended(self._served, self._process.wait(), self._log)

    def stop(self) -> None:
        """End it with all that it started."""
        _stop(self._process)


class Servers:
    """All servers of a run. They share memory, so that all must be known before the first is started."""

    def __init__(self) -> None:
        self._served: list[Served] = []
        self._starting = threading.Lock()
        """vLLM measures free memory while it loads: two that load at once would measure each other."""
        self._log_folder: Path | None = None
        self.tell: Callable[[str], None] = lambda text: None

    def add(self, name: str, settings: ChatSettings, serve: Serve, *, python: Path | None) -> Served:
        """Take note of a writer, and find its vLLM; what is missing is told before any work begins."""
        if settings.weights is None:
            raise InputError(
                "a server needs weights", where=name, next_step="Name a folder of safetensors or a Hub repository."
            )
        chosen, found = find_vllm(python)
        names = {served.name for served in self._served}
        name = next(one for one in (name, *(f"{name}-{n}" for n in range(2, len(names) + 3))) if one not in names)
        served = Served(name, settings, serve, chosen, found)
        self._served.append(served)
        return served

    def attend(self, log_folder: Path, tell: Callable[[str], None]) -> None:
        """Say where logs are kept and who is told of the progress; without, logs go to a temporary place."""
        self._log_folder, self.tell = log_folder, tell
        threads = [served.settings.threads for served in self._served if served.found.on_cpu]
        if len(threads) > 1 and sum(threads) > (cores := os.cpu_count() or 1):
            tell(f"the servers have {sum(threads)} threads on {cores} cores: they wait for each other, lower `threads`")

    def start(self, served: Served, closing: threading.Event) -> Server:
        """Start a server and wait until it answers; gives up when `closing` is set."""
        with self._turn(closing):
            log = ServerLog(self._folder() / f"{served.name}.log")
            for tries_left in reversed(range(PORT_TRIES)):
                port = free_port()
                server = self._start_on(port, served, log)
                try:
                    self._wait_until_ready(server, served, port, log, closing)
                except _PortTakenError:
                    if tries_left:
                        continue
                    raise ModelError(
                        f"the vLLM server of {served.name} found its port taken {PORT_TRIES} times",
                        where=str(log.path),
                        next_step="Run again; if it stays so, something on this machine takes every free port.",
                    ) from None
                except BaseException:
                    server.stop()
                    raise
                return server
            raise AssertionError("a range of tries ended without an outcome")

    def serving(self, served: Served) -> Serving:
        """Reckon what a server may take, with all that run beside it on the same GPUs or the same CPU."""
        serve = served.serve
        beside = [other for other in self._served if _share_gpus(other.serve, serve)]
        memory = serve.memory
        if memory is None and not served.found.on_cpu:
            left = GPU_SHARE - sum(other.serve.memory or 0.0 for other in beside)
            needs = {one.name: _needed_bytes(one) for one in beside if one.serve.memory is None}
            if left <= 0:
                raise InputError(
                    f"the servers beside {served.name} leave it no GPU memory", where=f"{served.name}.serve.memory",
                    next_step=f"Lower serve.memory of the others: all together they may take {GPU_SHARE}.",
                )  # fmt: skip
            memory = left * needs[served.name] / sum(needs.values())
        space_gib = int(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or len(beside))  # 1 GiB each where nothing is said
        return Serving(
            memory=memory,
            kv_cache_gib=max(1, space_gib // len(beside)),
            gpus=serve.gpus,
            tensor_parallel_size=serve.tensor_parallel_size,
            prefix_caching=serve.prefix_caching,
        )

    def _start_on(self, port: int, served: Served, log: ServerLog) -> Server:
        key = SecretStr(secrets.token_urlsafe(32))
        serving = self.serving(served)
        words = [str(served.python), *command(served.found, served.settings, serving, port=port)]
        log.begin(words)
        environ = environment(os.environ, served.found, served.settings, serving, key=key.get_secret_value())
        with log.open() as output:
            process = subprocess.Popen(  # noqa: S603 - the interpreter and arguments that the recipe chose
                [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid()), *words],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, and we end it in order
            )
        return Server(served, process, port, key, log)

    def _wait_until_ready(
        self, server: Server, served: Served, port: int, log: ServerLog, closing: threading.Event
    ) -> None:
        began_s = told_s = time.monotonic()
        within_s = served.serve.ready_within_s
        self.tell(f"{served.name}: starting vLLM {served.found.version} with {served.settings.name}; log: {log.path}")
        while not closing.wait(ASK_EVERY_S):
            now_s = time.monotonic()
            if not server.is_alive():
                if _is_taken(port):
                    raise _PortTakenError
                raise server.wait()
            if _answers(server, served.settings.name):
                if served.found.on_cpu:
                    let_wait(server.pid)
                self.tell(f"{served.name}: vLLM is up after {now_s - began_s:.0f} s on {server.base_url}")
                return
            if now_s - began_s > within_s:
                raise _failure(served, f"did not come up within {within_s:g} s", None, log)
            if now_s - told_s > TELL_EVERY_S:
                told_s = now_s
                self.tell(f"{served.name}: waiting for vLLM since {now_s - began_s:.0f} s: {log.last_line()}")
        raise ModelError(f"the vLLM server of {served.name} was not waited for: the run ends")

    @contextmanager
    def _turn(self, closing: threading.Event) -> Iterator[None]:
        while not self._starting.acquire(timeout=ASK_EVERY_S):
            if closing.is_set():
                raise ModelError("the run ended before its server was started")
        try:
            yield
        finally:
            self._starting.release()

    def _folder(self) -> Path:
        if self._log_folder is None:
            import tempfile

            self._log_folder = Path(tempfile.mkdtemp(prefix="affectory-servers-"))
        with storage_errors(self._log_folder):
            self._log_folder.mkdir(parents=True, exist_ok=True)
        return self._log_folder


class _PortTakenError(Exception):
    """Something else listens on the port that was free a moment ago."""


def _answers(server: Server, model: str) -> bool:
    """Whether it is up, is ours (it knows our key) and serves our model."""
    request = urllib.request.Request(  # noqa: S310 - loopback, our own port
        f"{server.base_url}/models", headers={"Authorization": f"Bearer {server.key.get_secret_value()}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy is not to see loopback or the key
    try:
        with direct.open(request, timeout=ASK_TIMEOUT_S) as response:
            told = json.load(response)
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return any(one.get("id") == model for one in told.get("data", ()))


def _ended(served: Served, code: int, log: ServerLog) -> ModelError:
    how = {KILLED: "was killed", server_guard.NOT_STARTED: "could not be started"}.get(code, f"ended with code {code}")
    return _failure(served, how, code, log)


def _failure(served: Served, how: str, code: int | None, log: ServerLog) -> ModelError:
    lines = log.last_lines()
    said = "".join(f"\n    {line}" for line in lines) or " nothing"
    return ModelError(
        f"the vLLM server of {served.name} ({served.settings.name}) {how}; its log ends with:{said}",
        where=str(log.path),
        next_step=next_step(code, log.tail()),
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _share_gpus(one: Serve, other: Serve) -> bool:
    return one.gpus is None or other.gpus is None or bool(set(one.gpus) & set(other.gpus))


def _needed_bytes(served: Served) -> float:
    files = Path(served.settings.weights or "").rglob("*.safetensors")
    weights = sum(file.stat().st_size for file in files) / served.serve.tensor_parallel_size
    return weights + BESIDE_WEIGHTS_BYTES


def _is_taken(port: int) -> bool:
    with socket.socket() as look:
        look.settimeout(ASK_TIMEOUT_S)
        return look.connect_ex(("127.0.0.1", port)) == 0
