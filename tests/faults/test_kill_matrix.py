# SPDX-License-Identifier: Apache-2.0
"""Every failpoint of a build, killed, ended and failing, and random moments: started again, the release is the same.

A usual run takes a slice of the matrix; `--soak` takes all of it. What was counted is printed at the end.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest

from flows.failpoints import Point
from tests.faults.victims import ALL, POINTS, TEXT, Case, new_case

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("prefect_server")]

OF_PUBLISHING = {"after_upload", "before_commit", "after_commit"}  # killed in test_f29_hub.py
OF_OBJECT_STORES = {"before_record_put", "after_record_put", "before_manifest_put"}  # in test_object_store_kills.py
BUILD_POINTS = [point for point in get_args(Point) if point not in OF_PUBLISHING | OF_OBJECT_STORES]
CODES = {"kill": -signal.SIGKILL, "term": 130, "raise": 1}
KINDS = {TEXT[0]: TEXT, ALL[0]: ALL}
SEEDS = (1, 2, 3)

SLICE = {  # the points of a shard itself are killed in test_f01, with a smaller run
    (TEXT[0], "mid_shard", "kill"),
    (TEXT[0], "before_manifest", "kill"),
    (TEXT[0], "after_manifest", "kill"),
    (TEXT[0], "after_rename", "term"),
    (TEXT[0], "after_reply_before_store", "raise"),
    (ALL[0], "before_done", "kill"),
}


@dataclass
class Tally:
    """What came of all kills of this session."""

    kills: int = 0
    lost: int = 0
    doubled: int = 0
    repeated_calls: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = ", ".join(f"{count} by {end}" for end, count in sorted(self.ends.items()))
        return (
            f"{self.kills} runs ended early ({ends}): {self.lost} rows lost, {self.doubled} doubled, "
            f"{self.repeated_calls} model calls made again"
        )


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    counted = Tally()
    yield counted
    plugins = request.config.pluginmanager
    reporter, capture = plugins.get_plugin("terminalreporter"), plugins.get_plugin("capturemanager")
    if reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\nkill matrix: {counted}")


@dataclass(frozen=True)
class Whole:
    """A build that nothing interrupted: its manifest, how often it passed each failpoint, and how long it took."""

    manifest: bytes
    passed: Counter[str]
    seconds: float


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> dict[str, Whole]:
    """Uninterrupted builds by kind, each made when first asked for."""

    class Made(dict[str, Whole]):
        def __missing__(self, kind: str) -> Whole:
            case = new_case(tmp_path_factory.mktemp("whole"), KINDS[kind])
            began = time.monotonic()
            ended = case.build(env={POINTS: str(case.folder / "points.txt")})
            assert ended.code == 0, ended.text
            assert case.problems() == []
            points = Counter((case.folder / "points.txt").read_text().split())
            self[kind] = Whole(case.manifest, points, time.monotonic() - began)
            return self[kind]

    return Made()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "action" in metafunc.fixturenames:
        matrix = [(kind, point, action) for kind in KINDS for point in BUILD_POINTS for action in CODES]
        all_of_it = metafunc.config.getoption("--soak")
        chosen = [one for one in matrix if all_of_it or one in SLICE]
        metafunc.parametrize(("kind", "point", "action"), chosen, ids=["-".join(one) for one in chosen])
    if "seed" in metafunc.fixturenames:
        pairs = [(kind, seed) for kind in KINDS for seed in SEEDS]
        metafunc.parametrize(("kind", "seed"), pairs if metafunc.config.getoption("--soak") else pairs[:1])


def assert_goes_on(case: Case, whole: Whole, tally: Tally, slots: int) -> None:
    """Start a build again that was cut off, and find what it would have made at once."""
    finished = finished_shards(case.output)
    ended = case.build()
    assert ended.code == 0, ended.text
    problems = case.problems()
    tally.lost += sum(problem.endswith("is lost") for problem in problems)
    tally.doubled += sum(problem.endswith("is doubled") for problem in problems)
    tally.repeated_calls += case.repeated
    assert problems == []
    assert case.manifest == whole.manifest
    assert case.repeated <= slots
    for path, (written_ns, content) in finished.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (written_ns, content), f"{path.name} was made again"


def finished_shards(output: Path) -> dict[Path, tuple[int, bytes]]:
    done = list(output.glob("work/*/part-*.done.json"))
    tables = [path.with_name(path.name.replace(".done.json", ".parquet")) for path in done]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in done + tables}


def test_a_build_passes_every_failpoint_of_a_local_folder(wholes: dict[str, Whole]) -> None:
    assert set(wholes[TEXT[0]].passed) == set(BUILD_POINTS)


def test_ended_at_a_failpoint(
    wholes: dict[str, Whole], tally: Tally, tmp_path: Path, kind: str, point: str, action: str
) -> None:
    whole, case = wholes[kind], new_case(tmp_path, KINDS[kind])
    # the same in every session, and another one for each pair of point and action
    at_call = random.Random(f"{kind}/{point}/{action}").randint(1, whole.passed[point])
    ended = case.build(f"{point}:{at_call}:{action}")
    assert ended.code == CODES[action], f"{point}:{at_call}:{action}\n{ended.text}"
    tally.kills += 1
    tally.ends[action] += 1
    assert (case.output / "manifest.json").exists() == (point == "after_manifest")
    assert_goes_on(case, whole, tally, slots_of(kind))


def test_killed_at_a_random_time(wholes: dict[str, Whole], tally: Tally, tmp_path: Path, kind: str, seed: int) -> None:
    whole, case = wholes[kind], new_case(tmp_path, KINDS[kind])
    victim = case.start()
    time.sleep(random.Random(seed).uniform(0.2, 0.95) * whole.seconds)
    victim.send(signal.SIGKILL)
    code = victim.wait().code
    assert code in {-signal.SIGKILL, 0}  # this time it may have been faster than the first one
    tally.kills += code != 0
    tally.ends["kill"] += code != 0
    assert_goes_on(case, whole, tally, slots_of(kind))


def slots_of(kind: str) -> int:
    """How many calls can be in flight: 4 of the recipe's own writer, and 8 of the dialogues' second one."""
    return 4 if kind == TEXT[0] else 12
