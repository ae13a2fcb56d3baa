# SPDX-License-Identifier: Apache-2.0
"""Clips per second of the speech stage beside its bare engines: python -m tests.benchmarks.bench_studio [--clips 12]

The same texts, voices and deliveries with 1 and 2 workers: by the stage (one take each), by its engines called one
after the other in as many processes, and by Kokoro alone, without a listener. Only the ratios mean anything.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from flows.studio import StudioPool, StudioSpec
from generators.backends.classifier import ClassifierSettings
from generators.backends.registry import open_listener, open_voice
from generators.speech.delivery import builtin_map
from generators.speech.takes import TakeSettings
from generators.speech.voices import SAMPLE_RATE, Speech
from tests.benchmarks.bench_clips import LABELS, listener_settings, plan, voice_settings
from validators.clip_gates import ClipBounds
from validators.roles import Sound
from validators.speech_records import PlannedClip

WORKERS = (1, 2)
ALL_PASS = ClipBounds(max_wer=10, min_dnsmos=1, min_speaker_similarity=-1)
"""One take a clip, whatever it sounds like, so that all do the same work."""

_engines: tuple[Any, Any] | None = None


def open_engines() -> None:
    """Open the bare engines of a process."""
    global _engines  # noqa: PLW0603 - a process has them for its life
    _engines = open_voice("kokoro", voice_settings()), open_listener("whisper", listener_settings())


def make_bare(planned: PlannedClip) -> None:
    """What the stage asks of its engines for a clip."""
    delivery = builtin_map().deliver(LABELS[planned.intended.label], planned.intended.intensity)
    voice, listener = _opened()
    neutral = voice.speak(Speech(planned.text, planned.voice))
    listener.track_pitch(Sound(neutral, SAMPLE_RATE, planned.language))
    _say(Speech(planned.text, planned.voice, delivery), listens=True)


def say_bare(planned: PlannedClip) -> None:
    """What the stage asks of the voice alone."""
    delivery = builtin_map().deliver(LABELS[planned.intended.label], planned.intended.intensity)
    _say(Speech(planned.text, planned.voice), listens=False)
    _say(Speech(planned.text, planned.voice, delivery), listens=False)


def main() -> None:
    """Print a line of JSON for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12)
    planned = list(plan(list(LABELS)))[: parser.parse_args().clips]
    for workers in WORKERS:
        stage_s = _time_stage(planned, workers)
        bare_s = _time(make_bare, planned, workers)
        voice_s = _time(say_bare, planned, workers)
        figures = {"workers": workers, "clips": len(planned), "clips_per_s": len(planned) / stage_s}
        ratios = {"stage_over_bare_engines": bare_s / stage_s, "stage_over_bare_voice": voice_s / stage_s}
        print(json.dumps({**figures, **ratios}))


def _time_stage(planned: Sequence[PlannedClip], workers: int) -> float:
    spec = StudioSpec(
        voice_backend="kokoro",
        voice=voice_settings(),
        listener_backend="whisper",
        listener=listener_settings(),
        emotion_backend=None,
        emotion=ClassifierSettings(""),
        labels=LABELS,
        settings=TakeSettings(takes=1, bounds=ALL_PASS),
    )
    with StudioPool(spec, workers=workers, timeout_s=600) as pool:
        # every voice says its reference, in every worker, as it would once in a long run
        list(pool.make([one for one in planned[:8] for _ in range(workers)]))
        began_s = time.monotonic()
        list(pool.make(planned))
        return time.monotonic() - began_s


def _time(work: Callable[[PlannedClip], None], planned: Sequence[PlannedClip], workers: int) -> float:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=open_engines) as pool:
        # as above: an engine measures the pitch of each voice when it first speaks
        list(pool.map(make_bare, [one for one in planned[:8] for _ in range(workers)]))
        began_s = time.monotonic()
        list(pool.map(work, planned))
        return time.monotonic() - began_s


def _say(speech: Speech, *, listens: bool) -> None:
    voice, listener = _opened()
    samples = voice.speak(speech)
    if listens:
        listener.listen(Sound(samples, SAMPLE_RATE, "en"))


def _opened() -> tuple[Any, Any]:
    if _engines is None:
        raise RuntimeError("the process has no engines")
    return _engines


if __name__ == "__main__":
    main()
