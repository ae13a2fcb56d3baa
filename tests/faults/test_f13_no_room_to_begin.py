# SPDX-License-Identifier: Apache-2.0
"""A read-only or missing folder, no inodes, no space, too few open files: told within a second of reading the recipe,
with path and next step and without a traceback, before any call of a model."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import preflight
from flows.build import build
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import read_inputs
from tests.faults.victims import CALLS, Victim, new_case
from tests.flows.builds import build_in_turn, write_recipe
from validators.errors import StorageError

pytestmark = pytest.mark.fault


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A folder on which a test mounts a small file system; unmounted at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def mount(folder: Path, options: str) -> None:
    try:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")


def refused(recipe: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> StorageError:
    """Build as the command does, but for the reading of the recipe; no model may be asked, and no server started."""
    monkeypatch.setattr("generators.backends.echo.reply_to", None)
    monkeypatch.setattr("flows.build.prefect_api", None)
    inputs = read_inputs(load_recipe(recipe))
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        build(inputs, output, SilentProgress())
    assert time.monotonic() - began < 1
    assert str(output) in caught.value.where
    assert caught.value.next_step
    return caught.value


def test_a_read_only_file_system(tmp_path: Path, tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(tmpfs, "size=100m,ro")
    error = refused(write_recipe(tmp_path), tmpfs / "out", monkeypatch)
    assert "read-only" in error.what


def test_no_inodes(tmp_path: Path, tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(tmpfs, "size=100m,nr_inodes=50")
    error = refused(write_recipe(tmp_path), tmpfs / "out", monkeypatch)
    assert "too few inodes" in error.what


def test_no_space(tmp_path: Path, tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(tmpfs, "size=4m")
    error = refused(write_recipe(tmp_path), tmpfs / "out", monkeypatch)
    assert "too little space" in error.what
    assert "bytes free" in error.where
    assert "needed" in error.where


def test_a_plan_larger_than_the_disk(tmp_path: Path, tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(tmpfs, "size=100m")
    error = refused(write_recipe(tmp_path, rows=300_000), tmpfs / "out", monkeypatch)
    assert "too little space" in error.what


def test_what_lies_there_already_is_not_asked_for_again(tmp_path: Path, tmpfs: Path) -> None:
    mount(tmpfs, "size=40m")
    recipe = write_recipe(tmp_path, rows=8)
    build_in_turn(recipe, tmpfs / "out")
    (tmpfs / "ballast").write_bytes(bytes(os.statvfs(tmpfs).f_bavail * os.statvfs(tmpfs).f_frsize - 1_000_000))
    assert build(read_inputs(load_recipe(recipe)), tmpfs / "out", SilentProgress()).kept == 8


def test_too_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 128))
    error = refused(write_recipe(tmp_path), tmp_path / "out", monkeypatch)
    assert "may open 128 files" in error.what
    assert "ulimit" in error.next_step


def test_a_soft_limit_of_open_files_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, to: set_to.append((which, to)))
    preflight._check_open_files(tmp_path)
    assert set_to == [(resource.RLIMIT_NOFILE, (preflight.OPEN_FILES, 4096))]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("place", ["under_a_file", "under_a_file/deeper", "no/such/folder", "/proc/out", "/proc/a/b"])
def test_the_command_tells_it_without_a_traceback(tmp_path: Path, place: str) -> None:
    case = new_case(tmp_path)
    (tmp_path / "under_a_file").write_text("a file")
    output = Path(place) if place.startswith("/") else tmp_path / place / "x"
    victim = Victim(["build", case.recipe, "--output", output], tmp_path / "log", {CALLS: str(case.calls)})
    ended = victim.wait()
    assert "Traceback" not in ended.text
    if place == "no/such/folder":
        assert ended.code == 0  # folders above are made
        return
    assert ended.code == 2, ended.text
    assert "next:" in ended.text
    assert case.n_calls == 0
