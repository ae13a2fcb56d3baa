# SPDX-License-Identifier: Apache-2.0
"""The part of a server that only waits leaves the cores to the part that works."""

import os
import subprocess
import sys

from flows.idle_engines import WAITS, let_wait


def test_the_engine_core_gets_the_lowest_priority_and_the_worker_keeps_its_own() -> None:
    sleeper = (
        "import pathlib, sys, time; pathlib.Path('/proc/self/comm').write_text(sys.argv[1]); "
        "print(flush=True); time.sleep(600)"
    )
    server = (
        "import subprocess, sys\n"
        "made = [subprocess.Popen([sys.executable, '-c', sys.argv[1], name], stdout=subprocess.PIPE)"
        " for name in sys.argv[2:]]\n"
        "[one.stdout.readline() for one in made]\n"
        "print(*[one.pid for one in made], flush=True)\n"
        "sys.stdin.read()\n"
        "[one.kill() for one in made]"
    )
    with subprocess.Popen(
        [sys.executable, "-c", server, sleeper, WAITS, "VLLM::Worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        core, worker = map(int, process.stdout.readline().split())
        own = os.getpriority(os.PRIO_PROCESS, worker)
        assert let_wait(process.pid) == 1
        assert os.getpriority(os.PRIO_PROCESS, core) == 19
        assert os.getpriority(os.PRIO_PROCESS, worker) == own
        process.communicate()
    assert let_wait(process.pid) == 0
