# SPDX-License-Identifier: Apache-2.0
"""Finds the environment whose vLLM serves: its own, since vLLM for a GPU wants other versions than Prefect does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from generators.backends.vllm_serve import PROBE, VllmFound
from validators.errors import InputError

VARIABLE: Final = "AFFECTORY_VLLM_PYTHON"
FOLDER: Final = ".venv-vllm"
INSTALL: Final = (
    "make setup-vllm (for a CPU); for a GPU: python3.11 -m venv .venv-vllm && .venv-vllm/bin/pip install vllm; "
    f"elsewhere name its interpreter in {VARIABLE} or serve.python"
)
PROBE_S = 60.0  # an interpreter starts in a tenth of a second; from a network disk it may take long


def find_vllm(python: Path | None) -> tuple[Path, VllmFound]:
    """Find an interpreter that has vLLM: the one that is named, or by convention."""
    if python is None and (named := os.environ.get(VARIABLE)):
        python = Path(named)
    if python is not None:
        if not (python.is_file() and os.access(python, os.X_OK)):
            raise InputError("there is no interpreter at this path", where=str(python), next_step=INSTALL)
        if found := probe(python):
            return python.absolute(), found
        raise InputError("this interpreter has no vLLM", where=str(python), next_step=INSTALL)
    beside = [folder / FOLDER / "bin" / "python" for folder in (Path(), Path(__file__).parents[1])]
    for candidate in [*beside, Path(sys.executable)]:
        if candidate.is_file() and (found := probe(candidate)):
            return candidate.absolute(), found  # never resolved: a link into another place would lose its packages
    raise InputError(
        f"there is no vLLM to serve with: no {FOLDER} here, and none in this environment",
        where=str(Path(FOLDER).absolute()),
        next_step=INSTALL,
    )


def is_there() -> bool:
    """Whether there is a vLLM to serve with."""
    try:
        find_vllm(None)
    except InputError:
        return False
    return True


def probe(python: Path) -> VllmFound | None:
    """Ask an interpreter for its vLLM; None if it has none."""
    try:
        asked = subprocess.run(  # noqa: S603 - an interpreter that the user named, with our own code
            [str(python), "-I", "-c", PROBE], capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return VllmFound.read(asked.stdout)
