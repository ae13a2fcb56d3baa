# SPDX-License-Identifier: Apache-2.0
"""Small builds with the scripted backend, in this process or as a command of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.build import build, build_release, in_turn
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.release import Release
from flows.runs import open_run_of, read_inputs
from tests.flows.forked import Forked

STORIES = Path(__file__).parents[2] / "recipes" / "stories"

RECIPE = """\
name: echo
stories: {{path: {stories}, section_words: 130, limit: 6}}
writer: {{backend: echo}}
encoder: {{backend: hashed}}
reader: {{backend: none}}
utterances: {{rows: {rows}}}
shard_rows: 16
"""


def write_recipe(folder: Path, *, rows: int = 40, extra: str = "") -> Path:
    path = folder / "echo.yaml"
    path.write_text(RECIPE.format(stories=STORIES, rows=rows) + extra)
    return path


def run_build(recipe: Path, output: Path, *overrides: str, rebuild: bool = False) -> Release:
    return build(read_inputs(load_recipe(recipe, overrides)), output, SilentProgress(), rebuild=rebuild)


def build_in_turn(recipe: Path, output: Path, *overrides: str) -> Release:
    """Build without Prefect, which takes seconds that a test of the rows need not spend."""
    with open_run_of(read_inputs(load_recipe(recipe, overrides)), output, SilentProgress()) as run:
        return build_release(run, in_turn)


def rows(output: Path, pattern: str = "data/utterances/*.parquet") -> list[dict[str, Any]]:
    """The rows of tables below a folder, in the order of their files."""
    return [row for path in sorted(output.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def command(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 240,
    first: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `affectory ...` to its end: as a user would where a variable is given that imports read, forked otherwise.

    `first` is done in the forked process before the command.
    """
    if any(name.startswith(("HF_", "PYTHON")) for name in env or {}):
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )
    with tempfile.TemporaryDirectory() as folder:
        ended = Forked(arguments, Path(folder) / "out", Path(folder) / "err", env, first).wait(timeout)
    return subprocess.CompletedProcess([*arguments], ended.code, ended.text, ended.errors)
