# SPDX-License-Identifier: Apache-2.0
"""Atomic writing: after a crash at any point a file is whole, or as it was before, or absent.

A disk that does not take the bytes is a `StorageError` with the path, the free space and the next step; nothing is
left behind. Only a process that is killed leaves its temp file, which the next run removes (`is_temp`).
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from validators.errors import StorageError

_TEMP_NAME: Final = re.compile(r"\.(?P<target>.+)\.\d+\.[0-9a-f]{8}\.tmp")

_CAUSES: Final = {
    errno.ENOSPC: ("no space left on the device", "free some space and run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or raise the quota, and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose an --output folder that can be written"),
    errno.EIO: ("the device reports an input/output error", "check the disk before running again"),
    errno.EMFILE: ("too many open files", "raise the limit (ulimit -n 4096) and run the same command again"),
    errno.ENFILE: ("too many open files on this machine", "close some programs and run the same command again"),
    errno.EACCES: ("permission denied", "make the folder writable, or choose another --output folder"),
    errno.EPERM: ("operation not permitted", "make the folder writable, or choose another --output folder"),
    errno.ENOENT: ("the folder does not exist", "create the folder, or choose another --output folder"),
    errno.ENOTDIR: ("a part of the path is not a folder", "choose another --output folder"),
    errno.EISDIR: ("there is a folder of that name", "choose another --output folder"),
    errno.ELOOP: ("there is a symbolic link of that name", "remove the link, or choose another --output folder"),
    errno.ENAMETOOLONG: ("the path is too long", "choose an --output folder with a shorter path"),
}
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 of a file."""

    bytes: int
    sha256: str


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a disk can do to us into a `StorageError` naming the path, the free bytes and the next step."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CAUSES:
            raise
        cause, next_step = _CAUSES[error.errno]
        where = f"{path} ({describe_free_space(path)})"
        raise StorageError(f"cannot use {path.name}: {cause}", where=where, next_step=next_step) from error


def describe_free_space(path: Path) -> str:
    """Say how many bytes are free where this path lies or would lie."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free} bytes free"
    return "free space unknown"


def make_folders(folder: Path) -> None:
    """Make a folder and those above it. Raises `StorageError`, also where a file is in the way."""
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def refuse_symlink(path: Path) -> None:
    """Refuse to write through a link, which would change a file outside the run."""
    if path.is_symlink():
        raise StorageError(
            f"{path.name} is a symbolic link; runs do not write through links",
            where=str(path),
            next_step="remove the link, or name the folder it points to",
        )


def is_temp(path: Path) -> bool:
    """Whether a file is a leftover of a write that did not end."""
    return path.is_file() and not path.is_symlink() and _TEMP_NAME.fullmatch(path.name) is not None


def digest_file(path: Path) -> FileDigest:
    """Hash a file as it lies on disk."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(bytes=file.tell(), sha256=sha256)


def write_file(
    target: Path, write: Callable[[IO[bytes]], object], *, check: Callable[[Path], object] | None = None
) -> FileDigest:
    """Replace a file so that a crash leaves the old one or the new one, and return what was written.

    `check` gets the temp file before it takes the target's place, and keeps it from doing so by raising.
    """
    with storage_errors(target), _temp_file(target, write) as temp:
        if check is not None:
            check(temp)
        digest = digest_file(temp)
        temp.replace(target)
        sync_folder(target.parent)
    return digest


def write_bytes(target: Path, content: bytes) -> FileDigest:
    """Replace a small file at once."""
    return write_file(target, lambda file: file.write(content))


def create_file(target: Path, content: bytes) -> None:
    """Write a file that must not exist yet; `FileExistsError` if it does."""
    with storage_errors(target), _temp_file(target, lambda file: file.write(content)) as temp:
        try:
            target.hardlink_to(temp)  # unlike rename, fails if the target exists
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # as on exFAT; the run lock still keeps other runs out
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            temp.replace(target)
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable where the file system can; network file systems often cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _temp_file(target: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """Write a temp file beside the target, durable when the body runs and gone when it ends."""
    refuse_symlink(target)
    temp = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    # 0o666 leaves the mode to the umask, as for every other file of the user
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temp
    finally:
        with suppress(FileNotFoundError):  # it has taken the target's place
            temp.unlink()
