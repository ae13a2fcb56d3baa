# SPDX-License-Identifier: Apache-2.0
"""The real vLLM, served by a run on this machine's CPU: the replies of the engine in process, prefixes from the cache,
two servers side by side, and a build that is killed and goes on."""

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import psutil
import pytest
from pydantic import BaseModel, ConfigDict, Field

from flows.serve_role import Serve
from flows.served_chat import ServedChat
from flows.servers import Servers
from flows.vllm_python import find_vllm
from generators.backends.registry import CHAT, is_installed, open_chat
from generators.backends.vllm import ENVIRONMENT
from generators.backends.vllm_serve import FOR_SERVE, OPTIONS
from generators.chat import ChatRequest, ChatSettings, Message
from tests.flows.builds import command, write_recipe
from validators.errors import InputError

pytestmark = [
    pytest.mark.soak,
    pytest.mark.model,
    pytest.mark.server,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),  # the engine warns about itself
]
WAIT_S = 900.0  # half a minute when nothing else runs
FLOAT32 = {"dtype": "float32", "enforce_eager": True}  # bf16 replies depend on what else is in the batch
SYSTEM = "You write lines for a play. " + "Keep to what people say at sea, in harbours and on the way home. " * 8


class Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    mood: Literal["calm", "loud"]
    line: str = Field(min_length=1, max_length=30)


REQUESTS = [
    ChatRequest(
        (Message("system", SYSTEM), Message("user", f"What does sailor {number} say?")),
        json.dumps(Line.model_json_schema(), sort_keys=True),
        60,
        0.8,
        number,
    )
    for number in range(12)
]


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return find_vllm(None)[0]
    except InputError as error:
        pytest.skip(str(error))


class Two:
    """Two servers of a run, and what they tell of themselves."""

    def __init__(self, folder: Path, weights: Path, python: Path) -> None:
        servers = Servers()
        self.told: list[str] = []
        servers.attend(folder, self.told.append)
        self.settings = ChatSettings(
            "one", weights=weights, slots=8, context_tokens=1024, timeout_s=WAIT_S, options=FLOAT32
        )
        self.one, self.two = (
            ServedChat(servers, servers.add(name, replace(self.settings, name=name), Serve(), python=python))
            for name in ("one", "two")
        )

    def url(self, name: str) -> str:
        (line,) = [line for line in self.told if line.startswith(f"{name}: vLLM is up")]
        return line.split()[-1].removesuffix("/v1")

    def metric(self, name: str, metric: str) -> float:
        with urllib.request.urlopen(f"{self.url(name)}/metrics", timeout=60) as response:
            text = response.read().decode()
        return sum(map(float, re.findall(rf"^vllm:{metric}_total{{.*}} (\S+)$", text, flags=re.MULTILINE)))


@pytest.fixture(scope="module")
def two(smollm2_folder: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = Two(tmp_path_factory.mktemp("servers"), smollm2_folder, python)
    yield made
    made.one.close()
    made.two.close()


@pytest.fixture(scope="module")
def replies(two: Two) -> list[str]:
    """Of two servers at once, asked the same."""
    futures = [chat.submit(request) for request in REQUESTS for chat in (two.one, two.two)]
    texts = [future.result(WAIT_S).text for future in futures]
    assert texts[::2] == texts[1::2]
    return texts[::2]


def test_replies_fit_the_schema_and_repeat(two: Two, replies: list[str]) -> None:
    assert len(set(replies)) > 1
    whole = [text for text in replies if text.rstrip().endswith("}")]
    assert len(whole) >= 9  # a model of 135M now and then fills the reply with white space
    for text in whole:
        Line.model_validate_json(text)
    assert [two.one.submit(one).result(WAIT_S).text for one in REQUESTS[:2]] == replies[:2]  # alone as beside others


def test_replies_are_those_of_the_engine_in_process(
    two: Two, replies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run may change from one to the other: `serve` is not in its identity."""
    if not is_installed(CHAT["vllm"]):
        pytest.skip("vLLM is in an environment of its own alone")
    pytest.importorskip("llvmlite.binding")  # once read, it made vLLM's look through all modules fail
    for name, value in {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}.items():
        monkeypatch.setenv(name, value)
    chat = open_chat("vllm", two.settings)
    texts = [future.result(WAIT_S).text for future in [chat.submit(one) for one in REQUESTS]]
    chat.close()
    assert texts == replies


@pytest.mark.usefixtures("replies")
def test_its_engine_core_leaves_the_cores_to_its_worker() -> None:
    below = psutil.Process().children(recursive=True)
    nice = {one.name(): one.nice() for one in below if one.name() in {"VLLM::EngineCore", "VLLM::Worker"}}
    assert nice == {"VLLM::EngineCore": 19, "VLLM::Worker": 0}


@pytest.mark.usefixtures("replies")
def test_what_prompts_share_comes_from_the_cache(two: Two) -> None:
    before = [two.metric("one", f"prefix_cache_{what}") for what in ("queries", "hits")]
    for future in [two.one.submit(replace(one, seed=one.seed + 100)) for one in REQUESTS]:
        future.result(WAIT_S)
    asked, hit = (two.metric("one", f"prefix_cache_{what}") - was
                  for what, was in zip(("queries", "hits"), before, strict=True))  # fmt: skip
    assert hit / asked > 0.7  # whole blocks of 128 tokens, of prompts of some 165


@pytest.mark.usefixtures("replies")
def test_seeded_prompts_that_do_not_fit_into_one_step_are_answered(two: Two) -> None:
    """A CPU engine that reads one of them in parts dies of it."""
    long = [
        replace(one, messages=(Message("user", f"{one.seed} {SYSTEM * 3}"),), max_tokens=4) for one in REQUESTS
    ]  # fmt: skip
    replies = [future.result(WAIT_S) for future in [two.two.submit(one) for one in long]]
    assert sum(reply.prompt_tokens for reply in replies) > 4096


@pytest.mark.usefixtures("replies")
def test_each_server_has_its_port_and_its_key(two: Two) -> None:
    assert two.url("one") != two.url("two")
    assert two.metric("two", "request_success") >= len(REQUESTS)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{two.url('one')}/v1/models", timeout=60)


def test_vllm_knows_every_option_that_is_passed_on(python: Path) -> None:
    code = (
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "print(*sorted(make_arg_parser(FlexibleArgumentParser())._option_string_actions))"
    )
    printed = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    known = {flag.removeprefix("--").replace("-", "_") for flag in printed.split()}
    assert {*OPTIONS, *FOR_SERVE, "generation_config", "disable_uvicorn_access_log", "served_model_name"} <= known


@pytest.mark.fault
@pytest.mark.usefixtures("prefect_server")
def test_a_killed_build_ends_its_server_and_goes_on(tmp_path: Path, smollm2_folder: Path, python: Path) -> None:
    writer = (
        f"writer={{backend: vllm, weights: {{path: {smollm2_folder}}}, licence: Apache-2.0, slots: 8, "
        f"context_tokens: 1536, timeout_s: 900, serve: {{python: {python}}}, "
        "options: {dtype: float32, enforce_eager: true}}"
    )
    recipe, output = write_recipe(tmp_path, rows=8), tmp_path / "out"
    settings = [writer, "stories.evidence=given", "utterances.tries=1", "gates.max_reason_share=1.0"]
    arguments: list[str | Path] = [
        "build",
        recipe,
        "--output",
        output,
        *(word for one in settings for word in ("--set", one)),
    ]
    mark = {"TEST_OF": str(tmp_path)}  # whatever the build starts inherits it
    killed = command(*arguments, env={**mark, "AFFECTORY_FAILPOINT": "after_store:6:kill"}, timeout=WAIT_S)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "vLLM is up" in killed.stdout
    end_s = time.monotonic() + 60
    while left := [process.pid for process in psutil.process_iter() if environment_of(process).items() >= mark.items()]:
        assert time.monotonic() < end_s, left
        time.sleep(0.2)
    resumed = command(*arguments, timeout=WAIT_S)
    assert "vLLM is up" in resumed.stdout, resumed.stderr
    # so small a model may write no row that passes, which is a failure of its own
    assert resumed.returncode == 0 or "no row" in resumed.stderr, resumed.stderr


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:  # it has just ended, or is another user's
        return {}
