# SPDX-License-Identifier: Apache-2.0
"""How a run's folder is opened: begun, continued or refused, by one process at a time."""

import logging
from collections.abc import Mapping
from pathlib import Path

from flows.atomic import create_file, storage_errors, write_bytes
from flows.identity import fingerprint, quotas_of
from flows.mirror import Mirror, open_mirror
from flows.run_folder import RunFolder
from flows.run_identity import (
    LOCK,
    MANIFEST,
    RUN_JSON,
    WORK,
    compare_identity,
    read_identity,
    read_quotas,
    refuse_foreign,
    remove_made,
    remove_temps,
    run_json,
)
from flows.run_lock import RunLock
from validators.errors import StorageError

log = logging.getLogger(__name__)


def open_run(
    root: Path, *, identity: Mapping[str, str], recipe: Mapping[str, object], rebuild: bool = False, storage: str = ""
) -> RunFolder:
    """Open the folder of a run, alone: begin it, continue it, or refuse.

    `identity` is everything that decides what the rows will be; `recipe` is kept for people to read.
    `rebuild` removes what an earlier run made, but for the replies. `storage` names the object store of the run.
    """
    refuse_foreign(root)
    with storage_errors(root):
        root.mkdir(exist_ok=True)
    lock = RunLock(root / LOCK)
    mirror: Mirror | None = None
    try:
        refuse_foreign(root)  # again, now that nobody else can write
        remove_temps(root)
        if storage:
            mirror = open_mirror(storage, root)
            mirror.begin(None if rebuild else identity)
        found = read_identity(root)
        if found is None:
            _begin(root, run_json(identity, recipe))
        elif rebuild:
            if mirror:
                mirror.remove_made()
            remove_made(root)
            write_bytes(root / RUN_JSON, run_json(identity, recipe))  # last: what is left always has its own name on it
        else:
            compare_identity(root, found, identity)
            if read_quotas(root) != quotas_of(recipe):
                log.info("other quotas than before: the rows stay, the release is made anew")
                if mirror:
                    mirror.remove(root / MANIFEST)
                with storage_errors(root):
                    (root / MANIFEST).unlink(missing_ok=True)
                write_bytes(root / RUN_JSON, run_json(identity, recipe))
        with storage_errors(root / WORK):
            (root / WORK).mkdir(exist_ok=True)
        if mirror:
            mirror.sync()
    except BaseException:
        if mirror and mirror.lock:
            mirror.lock.release()
        lock.release()
        raise
    return RunFolder(root, fingerprint(identity), identity, recipe, lock, mirror)


def _begin(root: Path, content: bytes) -> None:
    """Say what run this is; where locks do not work, another may say so at the same moment."""
    try:
        create_file(root / RUN_JSON, content)
    except FileExistsError as error:
        raise StorageError(
            "another run began in this folder at the same moment",
            where=str(root / RUN_JSON),
            next_step="see that it has ended, and run the same command again",
        ) from error
