# SPDX-License-Identifier: Apache-2.0
"""One run at a time in an object store, whatever machine it is on: a lock object with its holder, renewed as a lease.

No clocks are compared: who wants the lock of another machine watches whether it is still renewed. A lock of a dead
process of this machine is taken at once. Both ways replace the very object that was read (If-Match), so that of two who
want it one gets it.
"""

import json
import logging
import threading
import time
from dataclasses import asdict
from typing import Final

from flows.object_store import ObjectStore
from flows.run_lock import Holder, may_live
from validators.errors import StorageError

log = logging.getLogger(__name__)

NAME: Final = "run.lock"
LEASE_S: Final = 60.0  # unrenewed for so long, a lock is left by the dead; longer than a network hangs for moments
RENEW_S: Final = 15.0
WATCH_S: Final = 2.0


class StoreLock:
    """The lock of a run in a store, held from creation to `release`."""

    def __init__(self, store: ObjectStore, *, lease_s: float = LEASE_S, renew_s: float = RENEW_S) -> None:
        self._store, self._lease_s, self._renew_s = store, lease_s, renew_s
        self._beat = 0
        self._etag = self._take()
        self._renewed_s = time.monotonic()
        self._released = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """StorageError if the lock is no longer ours: nothing more may be written."""
        if self._lost or time.monotonic() - self._renewed_s > self._lease_s:
            raise StorageError(
                "this run has lost its lock in the object store: it was not renewed in time, or another run took it",
                where=f"{self._store.url}/{NAME}",
                next_step="run the same command again; where another run is at work, it will say so",
            )

    def release(self) -> None:
        """Let other runs in."""
        self._released.set()
        self._thread.join()
        if not self._lost and self._store.etag(NAME) == self._etag:
            self._store.delete([NAME])

    def _take(self) -> str:
        etag = self._store.create(NAME, self._content())
        if etag is not None:
            self._refuse_a_store_without_conditions(etag)
            return etag
        held, holder = self._store.etag(NAME), _read_holder(self._store.read(NAME))
        if not _died_here(holder):
            self._watch(held, holder)
        etag = self._store.replace(NAME, self._content(), held) if held else self._store.create(NAME, self._content())
        if etag is None:
            raise self._held_by(holder)
        log.warning("took over the lock left by %s in %s", holder or "an unnamed process", self._store.url)
        return etag

    def _watch(self, held: str | None, holder: Holder | None) -> None:
        """Return once a lock is seen not to be renewed; StorageError if it is, or if its process is seen to live."""
        here = Holder.here()
        if holder is not None and (holder.host, holder.boot_id) == (here.host, here.boot_id):
            raise self._held_by(holder)
        end_s = time.monotonic() + self._lease_s
        while time.monotonic() < end_s:
            time.sleep(min(WATCH_S, self._lease_s / 4))
            if self._store.etag(NAME) not in {held, None}:
                raise self._held_by(holder)

    def _refuse_a_store_without_conditions(self, etag: str) -> None:
        if self._store.create(NAME, self._content()) is None:
            return
        self._store.delete([NAME])
        raise StorageError(
            "this object store takes no notice of conditions (If-None-Match), so two runs could not be kept apart",
            where=self._store.url,
            next_step="use one that has conditional writes, as AWS S3, MinIO and Ceph do",
        )

    def _renew(self) -> None:
        while not self._released.wait(self._renew_s):
            began_s = time.monotonic()
            try:
                etag = self._store.replace(NAME, self._content(), self._etag)
            except StorageError as error:  # `check` tells of it if it lasts
                log.warning("the lock could not be renewed: %s", error.what)
                continue
            if etag is None:
                self._lost = True
                return
            self._etag, self._renewed_s = etag, began_s

    def _content(self) -> bytes:
        self._beat += 1
        return json.dumps(asdict(Holder.here()) | {"beat": self._beat}).encode()

    def _held_by(self, holder: Holder | None) -> StorageError:
        return StorageError(
            f"another run is at work in this store: {holder or 'an unnamed process'}",
            where=f"{self._store.url}/{NAME}",
            next_step="wait until it ends, or choose another storage",
        )


def _died_here(holder: Holder | None) -> bool:
    """Whether a lock was left by a process of this machine; machines may have one name, and start anew."""
    here = Holder.here()
    return holder is not None and holder.boot_id == here.boot_id and not may_live(holder)


def _read_holder(content: bytes | None) -> Holder | None:
    try:
        found = json.loads(content or b"{}")
        return Holder(pid=int(found["pid"]), host=str(found["host"]), boot_id=str(found["boot_id"]))
    except (ValueError, KeyError, TypeError):
        return None
