# SPDX-License-Identifier: Apache-2.0
"""What a run needs of the machine, looked at before the first model call: room on the disk, and open files."""

import os
import resource
import shutil
from pathlib import Path
from typing import Final, cast

from flows.atomic import storage_errors
from flows.estimates import estimate
from flows.runs import Run
from validators.errors import StorageError

SPARE_BYTES: Final = 20_000_000  # for replies, plans and the release: the smallest run took 4 MB
SPARE_INODES: Final = 200
FILES_OF_A_SHARD: Final = 3
OPEN_FILES: Final = 256  # a build with clips and Prefect had 60 open; an engine maps its weights, servers have sockets


def check_machine(run: Run) -> None:
    """Refuse to begin what cannot end. Raises `StorageError`; a soft limit of open files is raised where it may be."""
    _check_room(run.folder.root, needed=_bytes_to_come(run), shards=_shards_to_come(run))
    _check_open_files(run.folder.root)


def _bytes_to_come(run: Run) -> int:
    """What the plan reckons, less what lies there already: a run that goes on needs only the rest."""
    there = sum(path.stat().st_size for path in run.folder.root.rglob("*") if path.is_file())
    return max(0, int(cast(float, estimate(run.inputs)["megabytes_on_disk"]) * 1e6) - there) + SPARE_BYTES


def _shards_to_come(run: Run) -> int:
    return -(-run.recipe.utterances.rows // run.recipe.shard_rows)


def _check_room(root: Path, *, needed: int, shards: int) -> None:
    with storage_errors(root):
        free = shutil.disk_usage(root).free
        inodes = os.statvfs(root)
    if free < needed:
        raise StorageError(
            "there is too little space for this run",
            where=f"{root} ({free} bytes free, about {needed} needed)",
            next_step="free some space, choose another --output folder, or ask for fewer rows",
        )
    files = shards * FILES_OF_A_SHARD + SPARE_INODES
    if inodes.f_files and inodes.f_favail < files:  # file systems without a table of inodes say 0
        raise StorageError(
            "the file system has too few inodes left for this run",
            where=f"{root} ({inodes.f_favail} free, about {files} needed)",
            next_step="remove files that nobody needs, choose another --output folder, or raise shard_rows",
        )


def _check_open_files(root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise StorageError(
            f"this process may open {hard} files, and a run needs {OPEN_FILES}",
            where=str(root),
            next_step="raise the limit (ulimit -Hn 4096) and run the same command again",
        )
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
