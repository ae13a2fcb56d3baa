# SPDX-License-Identifier: Apache-2.0
"""Whether a file is still the one that was recorded."""

from pathlib import Path

from flows.atomic import FileDigest, digest_file, storage_errors


def marks_of(*files: Path) -> tuple[tuple[int, int, int], ...]:
    """By what a changed file shows; () where one is missing."""
    try:
        found = [file.stat() for file in files]
    except FileNotFoundError:
        return ()
    return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def differs(file: Path, recorded: FileDigest) -> str:
    """Say how a file differs from what was recorded ("" if not at all)."""
    if not file.is_file():
        return "is missing"
    with storage_errors(file):
        if file.stat().st_size != recorded.bytes:
            return f"has {file.stat().st_size} bytes instead of {recorded.bytes}"
        found = digest_file(file)
    return "" if found == recorded else f"has sha256 {found.sha256} instead of {recorded.sha256}"
