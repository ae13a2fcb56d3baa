# SPDX-License-Identifier: Apache-2.0
"""The release: its tables, the manifest that vouches for them, and the check of both.

The manifest is removed before the first file changes and written last, so that it never vouches for half a release. It
holds no times and no paths of this machine: the same rows and card give the same manifest.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.archives import archive_of
from flows.atomic import FileDigest, digest_file, refuse_symlink, storage_errors, write_bytes
from flows.failpoints import failpoint
from flows.parquet import check_pages, split_by_bytes, write_parquet
from flows.run_folder import RunFolder
from flows.run_identity import CARD, CROISSANT, DATA, MANIFEST, RELEASE_FILE
from flows.sealed import SealError, canonical_json, seal, unseal
from validators.errors import StorageError
from validators.schemas import SCHEMA_VERSION

SHARD_BYTES: Final = 500_000_000  # in memory; zstd makes 50 to 200 MB of text of it, which the Hub takes well
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,40}")
_LISTED: Final = re.compile(rf"README\.md|quality\.json|croissant\.json|data/{_NAME.pattern}/{RELEASE_FILE.pattern}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """A file of the release: its path from the run folder on, and its rows if it is a table."""

    path: str
    rows: int | None
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a release holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    fingerprint: str
    schema_version: int
    files: tuple[ReleaseFile, ...] = Field(min_length=1)


Tables = Mapping[str, Mapping[str, pa.Table]]
"""Config -> split -> table."""


def write_release_tables(
    folder: RunFolder, tables: Tables, archives: Tables | None = None, *, shard_bytes: int = SHARD_BYTES
) -> list[ReleaseFile]:
    """Write tables as data/<config>/<split>-00000-of-00004.parquet and remove older release files.

    Tables of clips in `archives` are written as WebDataset archives in the same way, named .tar. `shard_bytes` bounds a
    file's rows by their size in memory.
    """
    with storage_errors(folder.manifest):
        folder.manifest.unlink(missing_ok=True)
    refuse_symlink(folder.data)
    files = []
    for config, splits in sorted(tables.items()):
        for path, part in _parts(folder, config, splits, "parquet", shard_bytes):
            files.append(_listed(folder.root, path, part.num_rows, write_parquet(path, part)))
    for config, splits in sorted((archives or {}).items()):
        for path, part in _parts(folder, config, splits, "tar", shard_bytes):
            write_bytes(path, archive_of(part))
            with storage_errors(path):
                files.append(_listed(folder.root, path, None, digest_file(path)))
    _remove_older(folder, {file.path for file in files})
    return sorted(files, key=lambda file: file.path)


def _parts(
    folder: RunFolder, config: str, splits: Mapping[str, pa.Table], ending: str, shard_bytes: int
) -> Iterator[tuple[Path, pa.Table]]:
    """The files of a config, each with its rows."""
    config_folder = folder.data / _checked(config)
    refuse_symlink(config_folder)
    with storage_errors(config_folder):
        config_folder.mkdir(parents=True, exist_ok=True)
    for split, table in splits.items():
        # merged first: the borders of files must not depend on how the table was put together
        parts = list(split_by_bytes(table.combine_chunks(), shard_bytes))
        for n, part in enumerate(parts):
            yield config_folder / f"{_checked(split)}-{n:05d}-of-{len(parts):05d}.{ending}", part


def write_manifest(folder: RunFolder, tables: Sequence[ReleaseFile]) -> Manifest:
    """Vouch for the tables just written and for what describes them; the last write of a run."""
    texts = []
    for path in (folder.card, folder.quality, folder.root / CROISSANT):
        if not path.is_file():
            what = f"{path.name} is missing"
            raise StorageError(what, where=str(folder.root), next_step="write it before the manifest")
        with storage_errors(path):
            texts.append(_listed(folder.root, path, None, digest_file(path)))
    manifest = Manifest(
        fingerprint=folder.fingerprint,
        schema_version=SCHEMA_VERSION,
        files=tuple(sorted([*texts, *tables], key=lambda file: file.path)),
    )
    failpoint("before_manifest")
    write_bytes(folder.manifest, seal(manifest.model_dump(mode="json")))
    failpoint("after_manifest")
    return manifest


def replace_card(root: Path, card: bytes) -> None:
    """Give a whole release another card. A crash on the way leaves it without manifest: building again mends that."""
    manifest = read_manifest(root)
    with storage_errors(root / MANIFEST):
        (root / MANIFEST).unlink()
    digest = write_bytes(root / CARD, card)
    files = tuple(replace(file, **asdict(digest)) if file.path == CARD else file for file in manifest.files)
    failpoint("before_manifest")
    write_bytes(root / MANIFEST, seal(manifest.model_copy(update={"files": files}).model_dump(mode="json")))
    failpoint("after_manifest")


def is_release_file(path: str) -> bool:
    """Whether a path, from the folder of a release on, is one that we write there."""
    return path == MANIFEST or _LISTED.fullmatch(path) is not None


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of a release, or say in a `StorageError` why it cannot be trusted."""
    path = root / MANIFEST
    refuse_symlink(path)
    try:
        with storage_errors(path):
            manifest = Manifest.model_validate_json(canonical_json(unseal(path.read_bytes())))
    except (SealError, ValidationError) as error:
        what = str(error) if isinstance(error, SealError) else "its keys are not those of a manifest"
        raise StorageError(
            f"{MANIFEST} is damaged: {what}", where=str(path), next_step="run the same command again to write it anew"
        ) from error
    for file in manifest.files:
        # a release may come from elsewhere: its manifest must not lead us out of its folder
        if _LISTED.fullmatch(file.path) is None or (file.rows is None) == file.path.endswith(".parquet"):
            raise StorageError(
                f"{MANIFEST} lists {file.path!r}, which is no file of a release",
                where=str(path),
                next_step="do not use this release",
            )
    return manifest


def verify_release(root: Path) -> list[str]:
    """List what is wrong with a release ([] if nothing), each problem with the file and both values."""
    if not (root / MANIFEST).exists():
        return [f"{MANIFEST}: missing; the release is not finished"]
    try:
        manifest = read_manifest(root)
    except StorageError as error:
        return [f"{MANIFEST}: {error.what}"]
    problems = [problem for file in manifest.files for problem in _verify_file(root, file)]
    listed = {file.path for file in manifest.files}
    problems += [f"{path}: not in the manifest" for path in _paths_in(root / DATA, root) if path not in listed]
    return problems


def _verify_file(root: Path, listed: ReleaseFile) -> list[str]:
    path = root / listed.path
    if any(part.is_symlink() for part in (path, *path.parents[: len(Path(listed.path).parts) - 1])):
        return [f"{listed.path}: is a symbolic link or lies behind one"]
    if not path.is_file():
        return [f"{listed.path}: missing"]
    try:
        found = digest_file(path)
    except OSError as error:
        return [f"{listed.path}: cannot be read: {error.strerror}"]
    problems = []
    if found.bytes != listed.bytes:
        problems.append(f"{listed.path}: {found.bytes} bytes, the manifest says {listed.bytes}")
    if found.sha256 != listed.sha256:
        problems.append(f"{listed.path}: sha256 {found.sha256}, the manifest says {listed.sha256}")
    if listed.rows is not None:
        try:
            n_rows = check_pages(path)
        except StorageError as error:
            problems.append(f"{listed.path}: {error.what}")
        else:
            if n_rows != listed.rows:
                problems.append(f"{listed.path}: {n_rows} rows, the manifest says {listed.rows}")
    return problems


def _paths_in(folder: Path, root: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):  # does not follow links
        paths = [Path(parent) / name for name in names]
        paths += [path for path in (Path(parent) / name for name in folders) if path.is_symlink()]
        found += [path.relative_to(root).as_posix() for path in paths]
    return sorted(found)


def _remove_older(folder: RunFolder, written: set[str]) -> None:
    """Remove files of an earlier release; whatever is not named as ours stays, and `verify_release` tells of it."""
    for path in _paths_in(folder.data, folder.root):
        if path not in written and _LISTED.fullmatch(path):
            with storage_errors(folder.root / path):
                (folder.root / path).unlink()


def _listed(root: Path, path: Path, rows: int | None, digest: FileDigest) -> ReleaseFile:
    return ReleaseFile(path=path.relative_to(root).as_posix(), rows=rows, **asdict(digest))


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} cannot name a config or split: lower case letters, digits and _ only")
    return name
