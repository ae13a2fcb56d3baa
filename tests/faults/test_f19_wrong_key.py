# SPDX-License-Identifier: Apache-2.0
"""A wrong key, no credit, no right, no such model (401, 402, 403, 404): one call, exit code 3, and a message that names
the variable of the key or the model, never the key; what was made before stays and is gone on from."""

from pathlib import Path

import pytest

from tests.doubles.scripted_server import GOOD, Answer, ScriptedServer
from tests.faults.victims import new_case

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

KEY = "sk-" + "secretsecretsecretsecret"


def of(server: ScriptedServer) -> str:
    return (
        f"writer={{backend: openai, base_url: '{server.base_url}', name: my-model, licence: MIT, slots: 64, "
        "api_key_env: MY_SERVICE_KEY}"
    )


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "MY_SERVICE_KEY"), (402, "credit"), (403, "MY_SERVICE_KEY"), (404, "my-model"), (400, "options")],
)
def test_one_call_and_the_run_is_over(tmp_path: Path, status: int, told: str) -> None:
    case = new_case(tmp_path)
    echoed = f'{{"error": {{"message": "Incorrect API key provided: {KEY}."}}}}'.encode()
    with ScriptedServer(lambda call, body: Answer(status=status, body=echoed)) as server:
        ended = case.start("", of(server), env={"MY_SERVICE_KEY": KEY}).wait()
    assert ended.code == 3, ended.text
    assert len(server.calls) == 1
    assert told in ended.text
    assert "next:" in ended.text
    assert "Traceback" not in ended.text
    assert KEY not in ended.text
    assert not any(KEY.encode() in path.read_bytes() for path in case.output.rglob("*") if path.is_file())


def test_a_key_that_is_withdrawn_midway_costs_what_is_in_flight(tmp_path: Path) -> None:
    case = new_case(tmp_path)
    withdrawn = [True]

    def script(call: int, body: dict) -> Answer:
        return Answer(status=401, body=b"{}") if withdrawn[0] and call >= 60 else GOOD

    with ScriptedServer(script) as server:
        ended = case.start("", of(server), env={"MY_SERVICE_KEY": KEY}).wait()
        assert ended.code == 3, ended.text
        assert len(server.calls) <= 60 + 64
        before, withdrawn[0] = len(server.calls), False
        ended = case.start("", of(server), env={"MY_SERVICE_KEY": KEY}).wait()
        assert ended.code == 0, ended.text
        assert len(server.calls) > before
    assert case.problems() == []
