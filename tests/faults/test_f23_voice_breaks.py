# SPDX-License-Identifier: Apache-2.0
"""A voice that gives no sound, NaN, silence, clipping, a static tail, far too much, half the rate, that raises, crashes
or hangs: the clip is tried again and then rejected with its reason, every other clip is made, and the length of a clip
is that of its samples, whatever a header says."""

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from generators.backends.tone import ToneVoice
from generators.speech.audio import decode, encode_flac
from generators.speech.takes import Made, Studio
from generators.speech.voices import SAMPLE_RATE, Samples, Speech
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.test_speech import SPEECH
from tests.generators.speech.test_takes import Ear, planned, studio
from validators.errors import GateError, ModelError
from validators.records import RejectedRow

pytestmark = pytest.mark.fault

NOISE = np.random.default_rng(23)


class BrokenVoice(ToneVoice):
    """The tone voice, whose sound a test breaks from its n-th saying on; the first two say what others are compared
    with: the text without a feeling, and the sentence by which the voice is known."""

    def __init__(self, fault: Any, *, first: int = 2, last: int = 99) -> None:
        super().__init__()
        self._fault, self._first, self._last, self.count = fault, first, last, 0

    def speak(self, speech: Speech) -> Samples:
        samples = super().speak(speech)
        self.count += 1
        return self._fault(samples) if self._first <= self.count - 1 <= self._last else samples


def static_tail(samples: Samples) -> Samples:
    return np.concatenate([samples, NOISE.uniform(-0.2, 0.2, 20 * SAMPLE_RATE).astype(np.float32)])


def with_one(value: float) -> Any:
    def broken(samples: Samples) -> Samples:
        changed = samples.copy()
        changed[len(changed) // 2] = value
        return changed

    return broken


FAULTS: dict[str, tuple[Any, str]] = {
    "no samples": (lambda samples: samples[:0], "empty_sound"),
    "NaN": (with_one(np.nan), "not_finite"),
    "infinite": (with_one(np.inf), "not_finite"),
    "silence": (np.zeros_like, "silent"),
    "a moment": (lambda samples: samples[:1000], "silent"),
    "clipped": (lambda samples: np.clip(samples * 50, -1, 1), "clipped"),
    "beyond full scale": (with_one(1.5), "clipped"),
    "a static tail": (static_tail, "too_slow"),
    "never stops": (lambda samples: np.tile(samples, 30), "too_slow"),
    "silence at the end": (lambda samples: np.concatenate([samples, np.zeros(3 * SAMPLE_RATE, "f4")]), "silent_end"),
    "half the words": (lambda samples: samples[: len(samples) // 6], "too_fast"),
    "slower by four": (lambda samples: np.repeat(samples, 4), "too_slow"),
}


def with_voice(voice: ToneVoice, ear: Ear) -> Studio:
    made: Studio = studio(ear)
    made.voice = voice
    return made


@pytest.mark.parametrize("name", FAULTS)
def test_a_take_that_is_no_speech_is_made_again(name: str) -> None:
    fault, _ = FAULTS[name]
    made = with_voice(BrokenVoice(fault, first=2, last=2), Ear()).make(planned())
    assert isinstance(made, Made)
    assert made.attempts >= 2
    assert not made.passed_at_first


@pytest.mark.parametrize("name", FAULTS)
def test_a_voice_that_stays_broken_costs_the_clip(name: str) -> None:
    fault, reason = FAULTS[name]
    voice = BrokenVoice(fault)
    made = with_voice(voice, Ear()).make(planned())
    assert isinstance(made, RejectedRow)
    assert made.reason == reason, made.detail
    assert voice.count == 2 + 3  # what is compared with, and three takes


@pytest.mark.parametrize("name", ["no samples", "NaN", "infinite"])
def test_broken_from_the_first_word_it_costs_the_clip_too(name: str) -> None:
    fault, reason = FAULTS[name]
    made = with_voice(BrokenVoice(fault, first=0), Ear()).make(planned())
    assert isinstance(made, RejectedRow)
    assert (made.gate, made.reason) == ("voice", reason)
    voice = BrokenVoice(fault, first=0, last=1)  # by now it could say what it is known by, but is not asked to
    assert isinstance(with_voice(voice, Ear()).make(planned()), RejectedRow)
    assert voice.count == 2
    mended = with_voice(BrokenVoice(fault, first=0, last=0), Ear()).make(planned())
    assert isinstance(mended, Made)  # said again with another seed


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {"no samples", "NaN", "infinite"}])
def test_a_strange_sound_to_compare_with_stops_nothing(name: str) -> None:
    fault, _ = FAULTS[name]
    made = with_voice(BrokenVoice(fault, first=0, last=1), Ear()).make(planned())
    assert isinstance(made, Made | RejectedRow)


def test_the_length_is_that_of_the_samples_whatever_the_header_says() -> None:
    sound = (NOISE.uniform(-0.1, 0.1, SAMPLE_RATE)).astype(np.float32)
    flac = encode_flac(sound)
    assert len(decode(flac)) == SAMPLE_RATE
    with pytest.raises((soundfile.LibsndfileError, ValueError)):
        decode(flac[: len(flac) // 2])  # cut short
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * SAMPLE_RATE))
    lying = bytearray(stream.getvalue())
    lying[40:44] = struct.pack("<I", 2_000_000_000)  # what is written before the length is known
    assert len(decode(bytes(lying))) == SAMPLE_RATE


@pytest.mark.parametrize(
    ("option", "reason"), [pytest.param("hang_on", "hangs", marks=pytest.mark.soak), ("crash_on", "crashed")]
)
def test_a_voice_that_always_breaks_costs_every_clip_and_the_release(tmp_path: Path, option: str, reason: str) -> None:
    settings = (f"speech.voice.options={{{option}: i}}", "speech.timeout_s=8", "gates.max_reason_share=1")
    recipe = write_recipe(tmp_path, rows=3, extra=SPEECH)
    with pytest.raises(GateError, match="kept_clips: 0"):  # a release without the sound asked for is none
        build_in_turn(recipe, tmp_path / "out", *settings, "utterances.contextual_rows=0")
    lost = rows(tmp_path / "out", "work/speech/rejected-*.parquet")
    assert {row["reason"] for row in lost} == {reason}


def test_an_engine_that_cannot_work_stops_the_run_with_its_words(tmp_path: Path) -> None:
    settings = ("speech.voice.options={fail_on: i}", "utterances.rows=3", "utterances.contextual_rows=0")
    with pytest.raises(ModelError, match="failed, as asked"):
        build_in_turn(write_recipe(tmp_path, rows=3, extra=SPEECH), tmp_path / "out", *settings)
