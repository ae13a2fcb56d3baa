# SPDX-License-Identifier: Apache-2.0
"""The reader at work: passages read in batches by a thread of its own, each reading kept beside the replies."""

import json
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from queue import SimpleQueue

from flows.sealed import sha256_of
from flows.worker_replies import Replies
from generators.chat import ChatReply
from validators.errors import ModelError
from validators.readings import Reading, make_reading
from validators.roles import Passage, Reader

BATCH = 64  # passages read together: enough for a matrix product, few enough that no row waits long
KIND = "reading"


@dataclass(frozen=True, slots=True)
class ReaderUsage:
    """What was read so far. `busy_s` is the time in which the reader worked."""

    passages: int = 0
    stored: int = 0
    busy_s: float = 0.0


class StoredReader:
    """A reader that reads each passage once in the life of a run.

    A reading is stored as it was first made: its scores hang, in the last digits, on what else was in the batch, and a
    resumed run must decide as the first one did.
    """

    def __init__(self, reader: Reader, store: Replies) -> None:
        self._reader = reader
        self._store = store
        self._lock = threading.Lock()
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._waiting: dict[str, tuple[Passage, list[Future[Reading]]]] = {}
        self._thread: threading.Thread | None = None
        self._passages = self._stored = 0
        self._busy_s = 0.0

    @property
    def model(self) -> str:
        """Name and revision of the wrapped reader."""
        return self._reader.model

    @property
    def thresholds(self) -> dict[str, float]:
        """From which score on each label counts as found."""
        return dict(zip(self._reader.labels, map(float, self._reader.thresholds), strict=True))

    @property
    def usage(self) -> ReaderUsage:
        """What was read up to now."""
        with self._lock:
            return ReaderUsage(self._passages, self._stored, self._busy_s)

    def submit(self, passage: Passage) -> Future[Reading]:
        """Answer from the store, join the same passage that waits, or have it read."""
        key = sha256_of({"kind": KIND, "reader": self._reader.model, **asdict(passage)})
        future: Future[Reading] = Future()
        with self._lock:
            if key in self._waiting:
                self._waiting[key][1].append(future)
                return future
            known = self._store.get(key)
            if known is None:
                self._waiting[key] = (passage, [future])
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
                    self._thread.start()
            else:
                self._stored += 1
        if known is None:
            self._queue.put(key)
        else:
            future.set_result(self._reading(json.loads(known.text)))
        return future

    def close(self) -> None:
        """Stop the thread after the batch at hand and free the reader."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._reader.close()

    def _work(self) -> None:
        while True:
            keys = self._next_keys()
            if not keys:
                return
            with self._lock:
                passages = [self._waiting[key][0] for key in keys]
            began_s = time.monotonic()
            try:
                scores = self._reader.read(passages)
                if scores.shape != (len(passages), len(self._reader.labels)):
                    raise ModelError(f"reader {self.model} gave scores of shape {scores.shape}")
                for key, row in zip(keys, scores, strict=True):
                    reading = self._reading(row.tolist())
                    self._store.put(key, ChatReply(json.dumps(reading.scores), "stop", 0, 0))
                    self._resolve(key, reading)
            except BaseException as error:  # handed to all who wait for it, who raise it again
                for key in keys:
                    self._fail(key, error)
                if not isinstance(error, Exception):
                    raise
            finally:
                with self._lock:
                    self._busy_s += time.monotonic() - began_s
                    self._passages += len(keys)

    def _next_keys(self) -> list[str]:
        """Wait for a passage, then take what else waits; nothing once the reader is to stop."""
        first = self._queue.get()
        keys = [] if first is None else [first]
        while keys and len(keys) < BATCH and not self._queue.empty():
            key = self._queue.get()
            if key is None:
                self._queue.put(None)  # for the next turn
                break
            keys.append(key)
        return keys

    def _reading(self, scores: list[float]) -> Reading:
        return make_reading(self._reader.labels, scores, self._reader.thresholds.tolist())

    def _resolve(self, key: str, reading: Reading) -> None:
        for future in self._take(key):
            if future.set_running_or_notify_cancel():
                future.set_result(reading)

    def _fail(self, key: str, error: BaseException) -> None:
        for future in self._take(key):
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _take(self, key: str) -> list[Future[Reading]]:
        with self._lock:
            _, futures = self._waiting.pop(key, (None, []))
        return futures
