# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C or SIGTERM, also while an engine hangs: the run ends with 130 within ten seconds, leaves no process, and goes
on to the same release when it is started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.doubles.scripted_server import GOOD, Answer, ScriptedServer
from tests.faults.victims import ALL, Case, Victim, new_case
from tests.flows.builds import write_recipe
from tests.flows.forked import Forked

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

WITHIN_S = 10.0
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def until(happened: Callable[[], object], victim: Victim) -> None:
    """Wait until something has happened; a victim that ends before it is a failure."""
    end_s = time.monotonic() + 120
    while not happened():
        assert victim.process.is_alive(), victim.wait().text
        assert time.monotonic() < end_s
        time.sleep(0.02)


def interrupt(victim: Victim, number: signal.Signals) -> float:
    """Send a signal, and give the seconds until the run has ended with 130."""
    began = time.monotonic()
    victim.send(number)
    ended = victim.wait(60)
    assert ended.code == 130, ended.text
    assert "Run the same command again" in ended.text
    return time.monotonic() - began


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Case:
    case = new_case(tmp_path_factory.mktemp("whole"))
    assert case.build().code == 0
    return case


def interrupt_compiled_code() -> None:
    """Have every command interrupted while pydantic serialises, which makes an error of its own of it."""
    from pydantic import BaseModel, model_serializer

    from flows import cli

    class Told(BaseModel):
        @model_serializer
        def told(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "never"

    cli.app = lambda *_, **__: Told().model_dump()  # type: ignore[assignment]


def test_a_library_that_makes_an_error_of_its_own_of_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    ended = Forked(["models"], tmp_path / "out", tmp_path / "err", first=interrupt_compiled_code).wait(60)
    assert ended.code == 130
    assert "Run the same command again" in ended.errors
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize("number", SIGNALS)
def test_it_ends_at_once_and_goes_on(whole: Case, tmp_path: Path, number: signal.Signals) -> None:
    case = new_case(tmp_path)
    victim = case.start()
    until(lambda: case.n_calls > 30, victim)
    assert interrupt(victim, number) < WITHIN_S
    assert not (case.output / "manifest.json").exists()
    assert case.build().code == 0
    assert case.problems() == []
    assert case.manifest == whole.manifest


@pytest.mark.parametrize("number", SIGNALS)
def test_a_server_that_never_answers_holds_nothing_up(tmp_path: Path, number: signal.Signals) -> None:
    def script(call: int, body: dict) -> Answer:
        return GOOD if call < 10 else Answer(act="hang")

    case = new_case(tmp_path)
    with ScriptedServer(script) as server:
        writer = f"writer={{backend: openai, base_url: '{server.base_url}', name: m, licence: MIT, slots: 4}}"
        victim = case.start("", writer)
        until(lambda: len(server.calls) >= 14, victim)
        assert interrupt(victim, number) < WITHIN_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_voice_that_hangs_is_gone_with_the_run(tmp_path: Path, number: signal.Signals) -> None:
    case = new_case(tmp_path, ALL)
    victim = case.start("", "speech.voice.options={hang_on: the}", "speech.timeout_s=600", "dialogues=null")
    until(lambda: list(case.output.glob("work/clip_plan/*.done.json")), victim)
    started: list[psutil.Process] = []

    def at_work() -> bool:
        started[:] = psutil.Process(victim.pid).children(recursive=True)
        return any(one.ppid() != victim.pid for one in started)  # a voice is forked by a server that the run started

    until(at_work, victim)
    time.sleep(3)  # until it has opened its engines and says its first clip
    if number == signal.SIGKILL:
        victim.send(number)
        assert victim.wait().code == -signal.SIGKILL
    else:
        assert interrupt(victim, number) < WITHIN_S
    _, alive = psutil.wait_procs(started, timeout=WITHIN_S)
    assert alive == []


def test_a_run_with_a_server_of_its_own_leaves_no_process(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    arguments = [sys.executable, "-m", "flows.cli", "build", str(recipe), "--output", str(tmp_path / "out")]
    arguments += ["--set", "writer.options={delay_s: 0.5}"]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    end_s = time.monotonic() + 120
    while not (tmp_path / "out" / "work" / "evidence").exists() and time.monotonic() < end_s:
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again" in errors
    assert children
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
