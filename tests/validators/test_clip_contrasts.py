# SPDX-License-Identifier: Apache-2.0
"""Contrasts among clips are found where they were put, and not where there is only noise."""

import numpy as np
import pytest

from validators.clip_contrasts import clip_contrasts, strong_further, told_apart
from validators.speech_records import Delivery, Prosody
from validators.taxonomy import builtin_taxonomy

LABELS = {label.name: label for label in builtin_taxonomy("emonet").labels}
NEUTRAL = Prosody(
    f0_mean_hz=150,
    f0_range_st=5,
    loudness_db=-25,
    rate_hz=4,
    tilt_db=-12,
    pause_share=0.1,
    voiced_share=0.6,
    duration_s=3,
)
VOICES = ("one", "two", "three")


def clip(label, voice, intensity, pitch_st, random, text="The text.", tilt_db=0.0):
    strays = random.normal(scale=0.3)
    measured = NEUTRAL.model_copy(
        update={
            "f0_mean_hz": NEUTRAL.f0_mean_hz * 2 ** ((pitch_st + strays) / 12),
            "tilt_db": NEUTRAL.tilt_db + tilt_db + random.normal(scale=0.3),
        }
    )
    return {
        "text": text,
        "voice": voice,
        "intended": {"label": label, "intensity": intensity, "cause": ""},
        "delivery": Delivery(pitch_st=pitch_st).model_dump(),
        "measured": measured.model_dump(),
        "neutral": NEUTRAL.model_dump(),
    }


def shares(figures):
    assert figures is not None
    return figures


@pytest.fixture
def random():
    return np.random.default_rng(3)


def test_a_strong_clip_that_lies_further_is_counted_and_one_that_turns_back_is_not(random):
    rows = [clip("anger", voice, intensity, 3.0 * intensity, random) for voice in VOICES for intensity in (1, 2)]
    assert shares(strong_further(rows))["rate"] == 1
    rows[1]["measured"] = NEUTRAL.model_dump()
    assert shares(strong_further(rows))["count"] == 2
    assert strong_further(rows[:1]) is None


def test_classes_that_differ_are_told_apart_on_every_other_voice(random):
    rows = [
        clip(label, voice, 2, 4.0, random, text=str(n), tilt_db=tilt)
        for n in range(4)
        for voice in VOICES
        for label, tilt in (("elation", -6.0), ("anger", 6.0))
    ]
    found = clip_contrasts(rows, LABELS)
    assert found["elation and anger"]["balanced_accuracy"] == 1
    assert found["valence_at_high_arousal"]["chance"] == 0.5
    assert found["sadness and contentment"] is None


def test_noise_is_told_apart_no_better_than_by_chance(random):
    rows = [clip("anger", voice, 2, 0.0, random, text=str(n)) for n in range(100) for voice in VOICES]
    classes = [str(number % 3) for number in range(len(rows))]
    found = shares(told_apart(rows, random.permutation(classes).tolist()))
    assert abs(found["balanced_accuracy"] - found["chance"]) < 0.1
    assert sum(sum(counts.values()) for counts in found["heard_as"].values()) == found["clips"] == 300


def test_a_class_that_one_voice_alone_says_cannot_be_tried(random):
    rows = [clip("anger", voice, 2, 3.0, random) for voice in VOICES]
    assert told_apart(rows, ["a", "b", "b"]) is None
