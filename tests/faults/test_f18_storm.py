# SPDX-License-Identifier: Apache-2.0
"""A server that says 429, bursts into 500, resets, cuts replies short, is slow or hangs: the build comes through by
itself with at most 1.2 calls a reply; one that is down leaves shards open (exit code 3), and the same command goes on
once it is back."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.manifest import verify_release
from tests.doubles.scripted_server import GOOD, Answer, ScriptedServer
from tests.flows.builds import build_in_turn, rows, write_recipe
from validators.errors import DeferredError

pytestmark = [pytest.mark.fault, pytest.mark.server]


def busy(call: int) -> Answer:
    return Answer(status=429, body=b"", headers={"Retry-After": "0"})


FAULTS: dict[str, Callable[[int], Answer]] = {
    "429": busy,
    "500": lambda call: Answer(status=500, body=b"oops"),
    "reset": lambda call: Answer(act="reset"),
    "cut": lambda call: Answer(act="cut"),
    "garbage": lambda call: Answer(body=b"{not json"),
    "slow": lambda call: Answer(delay_s=0.3),
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.backends.openai.backoff_s", lambda rng, tries: 0.01 * tries)


def of(server: ScriptedServer, *more: str) -> tuple[str, ...]:
    timeouts = "timeout_s: 5"
    writer = f"writer={{backend: openai, base_url: '{server.base_url}', name: m, licence: MIT, slots: 8, {timeouts}}}"
    return (writer, "utterances.contextual_rows=0", *more)


def test_a_build_comes_through_a_storm(tmp_path: Path) -> None:
    kinds = list(FAULTS)

    def script(call: int, body: dict) -> Answer:
        # every fault in turn, and now and then a burst of one
        if call % 40 < 3 and call >= 40:
            return FAULTS["500"](call)
        return FAULTS[kinds[(call // 15) % len(kinds)]](call) if call % 15 == 14 else GOOD

    with ScriptedServer(script) as server:
        release = build_in_turn(write_recipe(tmp_path), tmp_path / "out", *of(server))
        replies = release.usage["calls"]
        assert release.planned == release.kept + release.rejected == 40
        assert len(server.calls) <= 1.2 * replies
        assert len(server.calls) > replies  # there was a storm
    assert verify_release(tmp_path / "out") == []
    asked = Counter(str(call.body) for call in server.calls)
    assert max(asked.values()) <= 5


def test_the_storm_leaves_no_trace_in_the_rows(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        build_in_turn(write_recipe(tmp_path), tmp_path / "calm", *of(server))
    with ScriptedServer(lambda call, body: busy(call) if call % 10 == 9 else GOOD) as server:
        build_in_turn(write_recipe(tmp_path), tmp_path / "storm", *of(server))
    assert (tmp_path / "storm" / "manifest.json").read_bytes() == (tmp_path / "calm" / "manifest.json").read_bytes()


def test_a_server_that_goes_down_leaves_shards_open_and_is_taken_up_again(tmp_path: Path) -> None:
    recipe, output = write_recipe(tmp_path), tmp_path / "out"
    down = [True]

    def script(call: int, body: dict) -> Answer:
        return Answer(status=503, body=b"") if down[0] and call >= 30 else GOOD

    with ScriptedServer(script) as server:
        with pytest.raises(DeferredError, match="got no answer") as caught:
            build_in_turn(recipe, output, *of(server))
        assert caught.value.exit_code == 3
        assert "run the same command again" in caught.value.next_step
        assert not (output / "manifest.json").exists()
        before = len(server.calls)
        assert before < 30 + 100  # ten requests of five calls, and what was in flight
        down[0] = False
        release = build_in_turn(recipe, output, *of(server))
        assert len(server.calls) - before == release.usage["calls"]
    assert release.planned == release.kept + release.rejected == 40
    assert len({row["utterance_id"] for row in rows(output)}) == release.kept


def test_a_server_that_hangs_has_its_deadline(tmp_path: Path) -> None:
    recipe, output = write_recipe(tmp_path, rows=8), tmp_path / "out"
    with ScriptedServer(lambda call, body: Answer(act="hang") if call % 12 == 11 else GOOD) as server:
        release = build_in_turn(recipe, output, *of(server, "writer.timeout_s=0.5"))
    assert release.planned == release.kept + release.rejected == 8
