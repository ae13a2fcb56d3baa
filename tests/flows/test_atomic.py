# SPDX-License-Identifier: Apache-2.0
import errno
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from flows import failpoints
from flows.atomic import create_file, digest_file, is_temp, storage_errors, write_bytes, write_file
from flows.failpoints import VARIABLE, FailpointError, failpoint
from validators.errors import InputError, StorageError


def test_replaces_a_file_and_returns_its_digest(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    digest = write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert digest == digest_file(target)
    assert digest.bytes == 3
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_and_no_temp(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_file(target, write)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_check_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    seen: list[bytes] = []

    def check(temp: Path) -> None:
        assert is_temp(temp)
        seen.append(temp.read_bytes())
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write_file(target, lambda file: file.write(b"new"), check=check)
    assert seen == [b"new"]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE])
def test_a_disk_that_fails_is_a_storage_error_with_path_space_and_next_step(tmp_path: Path, code: int) -> None:
    target = tmp_path / "a.json"

    def write(file: IO[bytes]) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(StorageError) as caught:
        write_file(target, write)
    assert str(target) in caught.value.where
    assert "bytes free" in caught.value.where
    assert caught.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_other_os_errors_pass() -> None:
    with pytest.raises(BrokenPipeError), storage_errors(Path("x")):
        raise BrokenPipeError(errno.EPIPE, "pipe")


def test_refuses_to_write_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    link = tmp_path / "a.json"
    link.symlink_to(outside)
    for write in (write_bytes, create_file):
        with pytest.raises(StorageError, match="symbolic link"):
            write(link, b"new")
    assert outside.read_text() == "mine"


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        write_bytes(tmp_path / "no" / "a", b"")


@pytest.mark.parametrize("hard_links", [True, False])
def test_creates_only_what_is_absent(tmp_path: Path, hard_links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hard_links:

        def refuse(self: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "run.json"
    create_file(target, b"first")
    with pytest.raises(FileExistsError):
        create_file(target, b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "a network file system")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_knows_its_temp_files(tmp_path: Path) -> None:
    for name, ours in {
        ".part-00000.parquet.12.0123abcd.tmp": True,
        ".part.tmp": False,
        "notes.tmp": False,
        ".a.12.0123ABCD.tmp": False,
    }.items():
        (tmp_path / name).touch()
        assert is_temp(tmp_path / name) is ours


def test_failpoint_fires_at_the_nth_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoints.reset()
    failpoint("before_done")
    monkeypatch.setenv(VARIABLE, "before_done:2:raise")
    failpoint("before_done")
    failpoint("after_done")
    with pytest.raises(FailpointError):
        failpoint("before_done")
    failpoint("before_done")


@pytest.mark.parametrize("spec", ["no:1:kill", "before_done:0:kill", "before_done:x:kill", "before_done:1:hug", "x"])
def test_a_wrong_failpoint_is_an_error(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, spec)
    with pytest.raises(InputError, match="name:n:action"):
        failpoint("before_done")


def test_bytes_are_on_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        order.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    write_bytes(tmp_path / "a", b"new")
    assert order == ["sync file", "rename", "sync folder"]
