# SPDX-License-Identifier: Apache-2.0
"""Voices and listeners in processes of their own, so that a synthesis that hangs or crashes costs one clip.

Each worker opens a voice and a listener of one thread each: the engines gain nothing by more, and two processes use
two cores. A worker that hangs is ended and replaced, at once: it is forked from a process that has imported what it
needs and started no thread.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from generators.backends.classifier import ClassifierSettings
from generators.backends.registry import open_emotion_listener, open_listener, open_voice
from generators.parsing import storable
from generators.speech.audio import encode_flac
from generators.speech.delivery import builtin_map
from generators.speech.listeners import ListenerSettings
from generators.speech.takes import STAGE, Made, Studio, TakeSettings
from generators.speech.voices import VoiceSettings
from validators.records import RejectedRow
from validators.speech_records import PlannedClip
from validators.taxonomy import Label

# a fork of this process would copy the threads and locks of its engines
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["flows.studio"])


@dataclass(frozen=True, slots=True)
class StudioSpec:
    """All that a worker needs to open its engines."""

    voice_backend: str
    voice: VoiceSettings
    listener_backend: str
    listener: ListenerSettings
    emotion_backend: str | None
    """None where nobody listens for emotion."""
    emotion: ClassifierSettings
    labels: dict[str, Label]
    settings: TakeSettings


@dataclass(frozen=True, slots=True)
class Recorded:
    """A clip as it comes from a worker."""

    audio: bytes
    n_samples: int
    made: Made
    engine: str
    listener: str
    voice_licence: str


class StudioPool:
    """The workers of a run; they start when the first clip is asked for."""

    def __init__(self, spec: StudioSpec, *, workers: int, timeout_s: float) -> None:
        self._spec = spec
        self._timeout_s = timeout_s
        self._pool: Any = ProcessPool(
            max_workers=workers, initializer=_begin, initargs=(dict(os.environ),), context=_CONTEXT
        )
        self.spans: list[tuple[float, float]] = []
        """From when to when a worker was at a clip, on the clock that all processes of a machine share."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()

    def make(self, planned: Iterable[PlannedClip]) -> Iterator[Recorded | RejectedRow]:
        """Make clips side by side and give them in the order of the plan."""
        plans = list(planned)
        futures: list[Any] = [
            self._pool.schedule(_make, args=(self._spec, plan), timeout=self._timeout_s) for plan in plans
        ]
        try:
            for plan, future in zip(plans, futures, strict=True):
                try:
                    made, span = future.result()
                    self.spans.append(span)
                    yield made
                except FutureTimeoutError:
                    yield _lost(plan, "hangs", f"no clip after {self._timeout_s:g} s")
                except ProcessExpired as error:
                    yield _lost(plan, "crashed", f"the engine's process ended with exit code {error.exitcode}")
        finally:
            for future in futures:
                future.cancel()


def _begin(environment: dict[str, str]) -> None:
    """Take over the run's environment, and end with it: who hangs in an engine reads no pipe and would outlive it."""
    os.environ.clear()  # the server of forks has that of the moment when it was started
    os.environ.update(environment)

    def wait() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


_open: tuple[StudioSpec, Studio] | None = None


def _make(spec: StudioSpec, planned: PlannedClip) -> tuple[Recorded | RejectedRow, tuple[float, float]]:
    """Make one clip in a worker, which opens its engines at the first one; with the time that took."""
    studio = _studio(spec)
    began_s = time.monotonic()
    made = studio.make(planned)
    recorded: Recorded | RejectedRow
    if isinstance(made, RejectedRow):
        recorded = made
    else:
        recorded = Recorded(
            audio=encode_flac(made.samples),
            n_samples=len(made.samples),
            made=made.without_samples(),
            engine=studio.voice.model,
            listener=", ".join(one.model for one in (studio.listener, studio.emotion) if one),
            voice_licence=studio.voice.voices[planned.voice].licence,
        )
    return recorded, (began_s, time.monotonic())


def _studio(spec: StudioSpec) -> Studio:
    """The studio of this worker, opened at the first clip."""
    global _open  # noqa: PLW0603 - a worker process has one studio for its life
    if _open is None or _open[0] != spec:
        studio = Studio(
            voice=open_voice(spec.voice_backend, spec.voice),
            listener=open_listener(spec.listener_backend, spec.listener),
            map=builtin_map(),
            labels=spec.labels,
            settings=spec.settings,
            emotion=open_emotion_listener(spec.emotion_backend, spec.emotion, tuple(spec.labels))
            if spec.emotion_backend
            else None,
        )
        _open = spec, studio
    return _open[1]


def _lost(planned: PlannedClip, reason: str, detail: str) -> RejectedRow:
    return RejectedRow(
        planned_id=planned.clip_id,
        stage=STAGE,
        gate="engine",
        reason=reason,
        detail=detail,
        label=planned.intended.label,
        attempt=1,
        seed=planned.seed,
        reply=storable(planned.text),
    )
