# SPDX-License-Identifier: Apache-2.0
"""A secret in the environment, an address, an error, a comment of the recipe or a reply: it is in no file of the run,
no message and no database of Prefect, and one that a story or a model brought in keeps the release from being
published, and is not told."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from flows.publishing import publish
from generators.chat import ChatRequest
from tests.doubles.scripted_server import GOOD, Answer, ScriptedServer
from tests.faults.replies import answer_lines
from tests.faults.victims import new_case
from tests.flows.builds import build_in_turn, command, write_recipe
from validators.errors import GateError, InputError

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

KEY = "sk-" + "loopback0loopback0loopback"
TOKEN = "hf_" + "loopback0loopback0loopback"


def files_with(secret: str, folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def database_of_prefect() -> bytes:
    """All that Prefect has stored for this session, also what is not yet in the main file."""
    home = Path(os.environ["PREFECT_HOME"])
    with sqlite3.connect(home / "prefect.db") as database:
        dump = "\n".join(database.iterdump())
    return dump.encode() + b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("status", [200, 401])
def test_a_key_of_the_environment_is_in_no_file_no_message_and_no_database(tmp_path: Path, status: int) -> None:
    case = new_case(tmp_path, rows=8)
    case.recipe.write_text(case.recipe.read_text() + f"# my key is {KEY}\n")
    echoed = f'{{"error": {{"message": "Incorrect API key provided: {KEY}. {TOKEN}"}}}}'.encode()

    def script(call: int, body: dict) -> Answer:
        return GOOD if status == 200 else Answer(status=status, body=echoed)

    with ScriptedServer(script) as server:
        writer = (
            f"writer={{backend: openai, base_url: '{server.base_url}', name: m, licence: MIT, api_key_env: MY_KEY}}"
        )
        ended = case.start("", writer, env={"MY_KEY": KEY, "HF_TOKEN": TOKEN}).wait()
        assert server.calls[0].authorization == f"Bearer {KEY}"
    assert ended.code == (0 if status == 200 else 3)
    assert "MY_KEY" in ended.text or status == 200
    stored = database_of_prefect()
    assert b"affectory" in stored  # it was looked at where the run is
    for secret in (KEY, TOKEN):
        assert secret not in ended.text
        assert files_with(secret, case.output) == []
        assert secret.encode() not in stored


@pytest.mark.parametrize(
    "setting",
    [
        f"stories.source={KEY}",
        f"writer.name={TOKEN}",
        "writer={backend: openai, base_url: 'http://me:hunter2hunter2@127.0.0.1/v1', name: m, licence: MIT}",
        f"writer={{backend: openai, base_url: 'http://127.0.0.1/v1', name: m, licence: MIT, api_key_env: {KEY}}}",
        f"writer.options={{headers: 'Bearer {KEY}'}}",
    ],
)
def test_a_recipe_with_a_secret_is_refused_and_not_repeated(tmp_path: Path, setting: str) -> None:
    result = command("build", write_recipe(tmp_path), "--output", tmp_path / "out", "--set", setting)
    assert result.returncode == 2
    assert "next:" in result.stderr
    for secret in (KEY, TOKEN, "hunter2"):
        assert secret not in result.stderr + result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("secret", [TOKEN, KEY, "AKIA" + "ABCDEFGHIJKLMNOP", "xoxb-" + "123456789012-abc"])
def test_what_a_model_brought_in_is_not_published_and_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    def leak(number: int, request: ChatRequest, good: str) -> str | None:
        line = f"I read {secret} on the wall of our old house."
        return json.dumps(json.loads(good) | {"line": line}) if number == 2 else None

    answer_lines(monkeypatch, leak)
    monkeypatch.setattr("flows.publishing.HfApi", None)  # who asks the Hub fails
    output = tmp_path / "out"
    settings = ("writer.licence=MIT", "utterances.contextual_rows=0", "gates.max_reason_share=1")
    build_in_turn(write_recipe(tmp_path, rows=8), output, *settings)
    with pytest.raises(GateError, match="secret: what looks like a token, key or password") as caught:
        publish(output, "me/x", allow=["secret"])
    assert secret not in str(caught.value)


def test_a_secret_of_the_environment_is_found_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "correct-horse-battery")
    monkeypatch.setattr("flows.publishing.HfApi", None)
    output = tmp_path / "out"
    build_in_turn(write_recipe(tmp_path, rows=8), output, "writer.licence=MIT", "stories.source=correct-horse-battery")
    with pytest.raises(GateError, match="a secret of this machine's environment") as caught:
        publish(output, "me/x")
    assert "correct-horse" not in str(caught.value)
    with pytest.raises(InputError):
        build_in_turn(write_recipe(tmp_path, rows=8), tmp_path / "other", f"stories.source={TOKEN}")
