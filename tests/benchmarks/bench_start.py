# SPDX-License-Identifier: Apache-2.0
"""How long a command takes before it does anything: `python -m tests.benchmarks.bench_start [--times 5]`.

`help` is `affectory --help`. `start` is from the call of a scripted build to its first stage, Prefect's server and all,
in a database that is there already; `bare` is that server alone, run by uvicorn's command, from its call until it is
healthy. In turn, so that another load on the machine meets all; the middle of each, and the ratio of start to bare.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from flows.ports import free_port
from flows.prefect_setup import ENVIRONMENT
from tests.benchmarks.bench_overhead import write_recipe

AFFECTORY = [str(Path(sys.executable).parent / "affectory")]
FIRST_STAGE = b"evidence: "


def main() -> None:
    """Print a line of JSON: seconds of each, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder, 50)
        environment = os.environ | ENVIRONMENT | {"PREFECT_HOME": str(folder / "prefect")}
        measured: dict[str, Callable[[], float]] = {
            "help": lambda: _help(environment),
            "start": lambda: _start(recipe, Path(tempfile.mkdtemp(dir=folder)), environment),
            "bare": lambda: _bare(environment),
        }
        seconds: dict[str, list[float]] = {what: [] for what in measured}
        _start(recipe, folder / "first", environment)  # migrates the database, once for all
        for _ in range(options.times):
            for what, measure in measured.items():
                seconds[what].append(measure())
    middle = {what: statistics.median(of) for what, of in seconds.items()}
    ratio = middle["start"] / middle["bare"]
    print(json.dumps({what: round(of, 2) for what, of in (middle | {"ratio": ratio}).items()}))


def _help(environment: dict[str, str]) -> float:
    began_s = time.monotonic()
    subprocess.run([*AFFECTORY, "--help"], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began_s


def _start(recipe: Path, root: Path, environment: dict[str, str]) -> float:
    command = [*AFFECTORY, "build", str(recipe), "--output", str(root / "run"), "--verbose"]
    began_s = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as build:
        assert build.stdout
        took_s = next(time.monotonic() - began_s for line in build.stdout if line.startswith(FIRST_STAGE))
        build.stdout.read()
    return took_s


def _bare(environment: dict[str, str]) -> float:
    port, spec = free_port(), find_spec("prefect")
    assert spec
    assert spec.origin
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(spec.origin).parent), "--factory"]
    command += ["prefect.server.api.server:create_app", "--port", str(port), "--log-level", "critical"]
    began_s = time.monotonic()
    ours = environment | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_FINAL": "1", "PREFECT__SERVER_EPHEMERAL": "1"}
    server = subprocess.Popen(command, env=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2):
                    return time.monotonic() - began_s
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.03)
    finally:
        server.kill()
        server.wait()
    raise RuntimeError("the bare server ended")


if __name__ == "__main__":
    main()
