# SPDX-License-Identifier: Apache-2.0
"""What the clips of 40 labels are like: python -m tests.benchmarks.bench_clips [--labels 40] [--out clips.jsonl]

Each EmoNet label at both intensities by four voices of Kokoro, best of three takes: shares that pass, for the first
take that was listened to and the kept one, speed and memory; then whether strong differs from mild and one feeling from
another. The text of a label is one of our sentences that no feeling speaks from, so that only the delivery differs. A
run that was stopped goes on from what lies in --out.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.models import cache_folder
from flows.voice_files import find_kokoro_voices
from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import open_listener, open_voice
from generators.shares import row_seed
from generators.speech.delivery import builtin_map
from generators.speech.listeners import ListenerSettings
from generators.speech.takes import Studio, TakeSettings
from generators.speech.voices import SAMPLE_RATE, Samples, Speech, Voice, VoiceSettings
from validators.clip_contrasts import clip_contrasts
from validators.clip_quality import clip_quality
from validators.records import Intended, RejectedRow
from validators.roles import Heard, Listener, Sound
from validators.speech_records import PlannedClip
from validators.taxonomy import builtin_taxonomy
from validators.transcripts import word_error_rate
from validators.verdicts import Verdict

TAXONOMY = builtin_taxonomy("emonet")
LABELS = {label.name: label for label in TAXONOMY.labels}
VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george")
SENTENCES = (
    "The bus to the market stops at the corner by the school.",
    "There are four chairs and a table in the room upstairs.",
    "He will bring the boxes over when the shop has closed.",
    "She put the letter on the shelf beside the front door.",
    "They talked about the garden until it was time to go.",
    "I have seen the house on the hill and the road behind it.",
    "We walk along the river every morning before work.",
    "You left your coat and the blue umbrella in the hall.",
)


class Counting:
    """A voice that counts what it says, and how long that takes."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.model, self.voices, self.controls, self.close = voice.model, voice.voices, voice.controls, voice.close
        self.audio_s = self.busy_s = 0.0

    def speak(self, speech: Speech) -> Samples:
        began_s = time.monotonic()
        samples = self._voice.speak(speech)
        self.busy_s += time.monotonic() - began_s
        self.audio_s += len(samples) / SAMPLE_RATE
        return samples


class Recording:
    """A listener that remembers what it heard."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.model, self.close = listener.model, listener.close
        self.heard: list[Heard] = []
        self.busy_s = 0.0

    def listen(self, sound: Sound) -> Heard:
        began_s = time.monotonic()
        self.heard.append(self._listener.listen(sound))
        self.busy_s += time.monotonic() - began_s
        return self.heard[-1]

    def track_pitch(self, sound: Sound) -> tuple[NDArray[np.float32], float]:
        began_s = time.monotonic()
        found = self._listener.track_pitch(sound)
        self.busy_s += time.monotonic() - began_s
        return found


def voice_settings() -> VoiceSettings:
    """Kokoro from its packages."""
    found = resolve_weights(WeightsSpec(package="kokoro-82m"), cache=cache_folder())
    voices = find_kokoro_voices(cache=cache_folder())
    return VoiceSettings(found.name, found.revision, found.path, voices, found.licence)


def listener_settings() -> ListenerSettings:
    """Whisper from its packages."""
    found = resolve_weights(WeightsSpec(package="whisper-base"), cache=cache_folder())
    return ListenerSettings(found.name, found.revision, found.path)


_studio: tuple[Studio, Counting, Recording] | None = None


def open_studio(takes: int) -> None:
    """Open the engines of a worker and let every voice say its reference."""
    global _studio  # noqa: PLW0603 - a worker has one studio for its life
    voice = Counting(open_voice("kokoro", voice_settings()))
    listener = Recording(open_listener("whisper", listener_settings()))
    _studio = Studio(voice, listener, builtin_map(), LABELS, TakeSettings(takes=takes)), voice, listener


def make(planned: PlannedClip) -> dict[str, Any]:
    """Make a clip; tell of the clip, of its first take, and of the worker."""
    if _studio is None:
        raise RuntimeError("the worker has no studio")
    studio, voice, listener = _studio
    speaker = studio._speaker(planned)
    listener.heard.clear()
    before = voice.audio_s, voice.busy_s, listener.busy_s
    began_s = time.monotonic()
    made = studio.make(planned)
    row: dict[str, Any] = {
        "planned": planned.model_dump(mode="json"),
        "wall_s": time.monotonic() - began_s,
        "said_s": voice.audio_s - before[0],
        "saying_s": voice.busy_s - before[1],
        "listening_s": listener.busy_s - before[2],
        "worker": os.getpid(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "first": None,
        "kept": None,
    }
    if listener.heard and not isinstance(speaker, Verdict):
        first = listener.heard[0]
        row["first"] = {
            "wer": word_error_rate(planned.text, first.transcript, language="en"),
            "dnsmos": first.dnsmos,
            "speaker_similarity": float(first.speaker @ speaker),
        }
    if isinstance(made, RejectedRow):
        return row | {"reason": made.reason}
    row["kept"] = {
        "text": planned.text,
        "voice": planned.voice,
        "intended": planned.intended.model_dump(mode="json"),
        "n_samples": len(made.samples),
        "sample_rate": SAMPLE_RATE,
        "wer": made.wer,
        "dnsmos": made.heard.dnsmos,
        "speaker_similarity": made.speaker_similarity,
        "distance": made.distance,
        "attempts": made.attempts,
        "passed_at_first": made.passed_at_first,
        **{name: getattr(made, name).model_dump() for name in ("delivery", "measured", "neutral")},
    }
    return row


def plan(labels: Sequence[str]) -> Iterator[PlannedClip]:
    """Plan a clip for each label, intensity and voice."""
    number = 0
    for place, label in enumerate(labels):
        for voice in VOICES:
            for intensity in (1, 2):
                yield PlannedClip(
                    clip_id=f"c-00000-{number:04d}",
                    utterance_id=None,
                    dialogue_id=None,
                    turn=None,
                    story_id=None,
                    speaker=voice,
                    text=SENTENCES[place % len(SENTENCES)],
                    language="en",
                    intended=Intended(label=label, intensity=intensity, cause="to be compared"),
                    voice=voice,
                    rendering=0,
                    split="train",
                    seed=row_seed(7, f"{label} {voice} {intensity}"),
                )
                number += 1


def main() -> None:
    """Make the clips, a line of JSON each, then print what they are like."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=len(TAXONOMY.names))
    parser.add_argument("--takes", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("clips.jsonl"))
    options = parser.parse_args()
    planned = list(plan(TAXONOMY.names[: options.labels]))
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {json.loads(line)["planned"]["clip_id"] for line in lines}
    todo = [row for row in planned if row.clip_id not in done]
    began_s = time.monotonic()
    with (
        options.out.open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(
            options.workers, multiprocessing.get_context("spawn"), initializer=open_studio, initargs=(options.takes,)
        ) as pool,
    ):
        for row in pool.map(make, todo):
            file.write(json.dumps(row) + "\n")
            file.flush()
    wall_s = time.monotonic() - began_s
    rows = [json.loads(line) for line in options.out.read_text(encoding="utf-8").splitlines()]
    for figures in report(planned, rows):
        print(json.dumps(figures))
    if todo:
        print(json.dumps({"clips": len(todo), "workers": options.workers, "seconds_per_clip": wall_s / len(todo)}))


def report(planned: Sequence[PlannedClip], rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sum up the rows: takes, engines, and contrasts among the kept clips."""
    import pandas as pd

    firsts = [row["first"] for row in rows if row["first"]]
    kept = [row["kept"] for row in rows if row["kept"]]
    for name, takes in (("first take", firsts), ("kept take", kept)):
        wers = [take["wer"] for take in takes]
        yield {
            "of": name,
            "planned": len(rows),
            "heard": len(takes),
            "wer_0": np.mean([wer == 0 for wer in wers]),
            "wer_median": np.median(wers),
            "wer_mean": np.mean(wers),
            "dnsmos_3": np.mean([take["dnsmos"] >= 3 for take in takes]),
            "dnsmos_median": np.median([take["dnsmos"] for take in takes]),
            "similarity_0.8": np.mean([take["speaker_similarity"] >= 0.8 for take in takes]),
        }
    sums = {name: sum(row[name] for row in rows) for name in ("wall_s", "said_s", "saying_s", "listening_s")}
    yield {
        "passed_at_first": sum(bool(row["passed_at_first"]) for row in kept) / len(rows),
        "kept": len(kept) / len(rows),
        "takes": np.mean([row["attempts"] for row in kept]),
        "real_time_factor": sums["saying_s"] / sums["said_s"],
        "outside_engines": 1 - (sums["saying_s"] + sums["listening_s"]) / sums["wall_s"],
        "peak_mib_of_a_worker": max(row["peak_mib"] for row in rows),
        "threads_of_a_worker": max(row["threads"] for row in rows),
    }
    figures = clip_quality(planned, pd.DataFrame(kept), pd.DataFrame(), LABELS)
    yield {"asked_and_measured": figures["asked_and_measured"], "distance": figures["distance"]}
    yield {"all clips": figures["contrasts"]}
    yield {"strong clips": clip_contrasts([row for row in kept if row["intended"]["intensity"] == 2], LABELS)}


if __name__ == "__main__":
    main()
