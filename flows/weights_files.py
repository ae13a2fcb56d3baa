# SPDX-License-Identifier: Apache-2.0
"""Hashing and joining of weight files, so that a crash leaves either no file or the right one."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from flows.atomic import storage_errors, write_bytes, write_file
from validators.errors import ModelError

CHUNK_BYTES = 16 * 2**20  # large enough that hashing, not calls, takes the time


def file_sha256(path: Path, *, cache: Path) -> str:
    """Hash a file once: its size and time of change, kept beside the hash in the cache, spare the next start."""
    stamp = _stamp(path)
    sidecar = _sidecar(path, cache)
    try:
        known = json.loads(sidecar.read_text(encoding="utf-8"))
        if {key: known[key] for key in stamp} == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no sidecar, or a damaged one: hash again
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    _write_sidecar(sidecar, stamp, sha256)
    return sha256


def folder_sha256(folder: Path, *, cache: Path) -> str:
    """Hash the names and contents of a model folder's files (not of hidden ones, nor of notes in Markdown)."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in inner.parts):
            total.update(f"{inner.as_posix()}\0{file_sha256(path, cache=cache)}\n".encode())
    return total.hexdigest()


def join_files(parts: Iterable[Path], target: Path, *, sha256: str, cache: Path) -> None:
    """Copy the parts one after another into `target`, which appears only once it is whole and its hash is right."""
    parts = tuple(parts)
    total = hashlib.sha256()

    def copy(joined: IO[bytes]) -> None:
        for part in parts:
            with part.open("rb") as piece:
                while chunk := piece.read(CHUNK_BYTES):
                    joined.write(chunk)
                    total.update(chunk)

    def check(_temp: Path) -> None:
        if (found := total.hexdigest()) != sha256:
            raise ModelError(
                f"the parts of {target.name} are not the expected file: sha256 expected {sha256}, found {found}",
                where=f"{len(parts)} parts, {parts[0]} to {parts[-1]}",
                next_step="Install the parts again; if the hash stays wrong, do not use them.",
            )

    write_file(target, copy, check=check)
    _write_sidecar(_sidecar(target, cache), _stamp(target), sha256)


def prepare_cache(cache: Path) -> None:
    """Make the cache folder, or say why it cannot be used."""
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)


def _stamp(path: Path) -> dict[str, object]:
    stat = path.stat()
    return {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _sidecar(path: Path, cache: Path) -> Path:
    if path.parent == cache:
        return path.with_name(path.name + ".sha256")
    # Someone else's folder is not written to.
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    return cache / f"{path.name}.{place}.sha256"


def _write_sidecar(sidecar: Path, stamp: dict[str, object], sha256: str) -> None:
    write_bytes(sidecar, json.dumps({**stamp, "sha256": sha256}).encode())
