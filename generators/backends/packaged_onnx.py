# SPDX-License-Identifier: Apache-2.0
"""Opens the ONNX models that lie inside other people's packages, without importing these packages."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from validators.errors import ModelError


def open_packaged(module: str, inner: str, *, install: str) -> Any:
    """Open the model at a path below a module as an onnxruntime session of one thread.

    The packages' own code would open it with a thread for each core (which spin while others work) and import librosa
    and numba, seconds of start-up, for what is a page of numpy.
    """
    import onnxruntime

    spec = find_spec(module)  # locates the package without running it
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((Path(folder) / inner for folder in folders if (Path(folder) / inner).is_file()), None)
    if path is None:
        raise ModelError(f"the model {inner} is not in the package {module}", next_step=install)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # else each start warns of unused initialisers
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def named_version(distribution: str) -> str:
    """Name an installed distribution with its version, as rows tell it."""
    try:
        return f"{distribution}@{version(distribution)}"
    except PackageNotFoundError:  # the code is on the path without its record
        return distribution
