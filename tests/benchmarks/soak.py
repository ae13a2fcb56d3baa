# SPDX-License-Identifier: Apache-2.0
"""Tiny scripted builds, killed at random, for a given time: `python -m tests.benchmarks.soak --minutes 5`.

It prints how many runs were killed, rows lost or doubled and calls made again, and what this process, which also builds
in itself, and the Prefect server hold of memory and open files: neither may grow.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.conftest import own_prefect
from tests.faults.victims import ALL, TEXT, Case, new_case
from tests.flows.builds import build_in_turn

EVERY_S = 30.0
HUNG_S = 1800.0  # a build that takes longer; another process may hold the machine for minutes
SPOKEN_EVERY = 6  # builds with dialogues and speech, which take several times as long


@dataclass
class Counted:
    """What came of the builds so far."""

    builds: int = 0
    kills: int = 0
    wrong: int = 0
    """Releases that differ from the uninterrupted one, or have files or rows amiss."""
    lost: int = 0
    doubled: int = 0
    repeated: int = 0


def main() -> int:
    """Build and kill until the time is up; 1 if a release was not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    counted = Counted()
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    with own_prefect(root / "prefect"):
        wholes = {kind[0]: _whole(new_case(root / kind[0].replace(" ", "-"), kind)) for kind in (TEXT, ALL)}
        began, told = time.monotonic(), 0.0
        print("minute builds kills wrong lost doubled repeated | MB here, open files | MB of children, open files")
        while (now := time.monotonic() - began) < 60 * chosen.minutes:
            if now - told >= EVERY_S:
                told = now
                _tell(now, counted)
            kind = ALL if counted.builds % SPOKEN_EVERY == SPOKEN_EVERY - 1 else TEXT
            manifest, seconds = wholes[kind[0]]
            case = new_case(root / "case", kind)
            _build_with_kills(case, chance, seconds, counted)
            _judge(case, manifest, counted)
            build_in_turn(case.recipe, case.folder / "here", *case.settings, "utterances.rows=8", "dialogues=null",
                          "speech=null")  # fmt: skip
            shutil.rmtree(case.folder)
        _tell(time.monotonic() - began, counted)
    shutil.rmtree(root)
    return 1 if counted.wrong else 0


def _whole(case: Case) -> tuple[bytes, float]:
    began = time.monotonic()
    ended = case.build()
    assert ended.code == 0, ended.text
    return case.manifest, time.monotonic() - began


def _build_with_kills(case: Case, chance: random.Random, seconds: float, counted: Counted) -> None:
    """Start a build again and again, and kill it at a random time, until one comes through."""
    for number in range(50):
        victim = case.start()
        if number < chance.randint(1, 4):
            time.sleep(chance.uniform(0.05, 1.0) * seconds)
            victim.send(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        ended = victim.wait(HUNG_S)
        if ended.code == 0:
            return
        counted.kills += 1
        if ended.code not in {130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}:
            print(f"ended with {ended.code}:\n{ended.text[-2000:]}", file=sys.stderr)
            counted.wrong += 1
    raise AssertionError("it was started fifty times and never came through")


def _judge(case: Case, manifest: bytes, counted: Counted) -> None:
    problems = case.problems()
    counted.builds += 1
    counted.lost += sum(problem.endswith("is lost") for problem in problems)
    counted.doubled += sum(problem.endswith("is doubled") for problem in problems)
    counted.repeated += case.repeated
    if problems or case.manifest != manifest:
        counted.wrong += 1
        print("\n".join(problems) or "the manifest is another one", file=sys.stderr)


def _tell(now_s: float, counted: Counted) -> None:
    here = psutil.Process(os.getpid())
    children = [one for one in here.children(recursive=True) if one.is_running()]
    memory = sum(one.memory_info().rss for one in children) / 1e6
    files = sum(one.num_fds() for one in children)
    print(
        f"{now_s / 60:6.1f} {counted.builds:6} {counted.kills:5} {counted.wrong:5} {counted.lost:4} "
        f"{counted.doubled:7} {counted.repeated:8} | {here.memory_info().rss / 1e6:.0f} {here.num_fds()} | "
        f"{memory:.0f} {files}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
