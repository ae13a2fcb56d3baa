# SPDX-License-Identifier: Apache-2.0
"""Each clip gate rejects what it is for, with its own reason, and a good take passes them all."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from validators.clip_gates import ClipBounds, Take, judge_sound, judge_take, speaker_similarity
from validators.delivery import (
    NOTICEABLE,
    TILT_SEEN,
    Strong,
    asked_differences,
    delivery_distance,
    measured_differences,
    wrong_sides,
)
from validators.roles import Heard
from validators.speech_records import Delivery, Prosody

RATE = 24_000
BOUNDS = ClipBounds()
TEXT = "I cannot believe you did that."
NEUTRAL = Prosody(
    f0_mean_hz=200.0, f0_range_st=4.0, loudness_db=-22.0, rate_hz=4.5,
    tilt_db=-9.0, pause_share=0.0, voiced_share=0.6, duration_s=2.0,
)  # fmt: skip
VOICE = np.array([1.0, 0.0], dtype=np.float32)
HEARD = Heard(transcript=TEXT, dnsmos=3.4, speaker=VOICE, f0_hz=np.zeros(1, np.float32), frame_s=0.016)
GOOD = Take(
    text=TEXT, language="en", heard=HEARD, measured=NEUTRAL, neutral=NEUTRAL, speaker=VOICE, delivery=Delivery()
)


def tone(seconds: float) -> NDArray[np.float64]:
    return 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE)


def sung(**changes: float) -> Prosody:
    return NEUTRAL.model_copy(update=changes)


def reason(take: Take) -> str | None:
    return judge_take(take, BOUNDS).reason


def test_a_good_sound_and_a_good_take_pass() -> None:
    assert judge_sound(tone(2.0), RATE, BOUNDS).accepted
    assert judge_take(GOOD, BOUNDS).accepted


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.zeros(0), "empty_sound"),
        (np.append(tone(1.0), np.nan), "not_finite"),
        (np.append(tone(1.0), -np.inf), "not_finite"),
        (np.clip(tone(1.0) * 20, -1, 1), "clipped"),
        (np.zeros(RATE), "silent"),
        (np.concatenate([np.zeros(RATE), tone(0.05)]), "silent"),
        (np.concatenate([tone(1.0), np.zeros(2 * RATE)]), "silent_end"),
        (np.concatenate([np.zeros(2 * RATE), tone(1.0)]), "silent_end"),
    ],
)
def test_a_sound_that_nobody_can_listen_to_is_rejected(samples: NDArray[np.float64], expected: str) -> None:
    verdict = judge_sound(samples, RATE, BOUNDS)
    assert verdict.reason == expected
    assert verdict.detail


def test_a_single_peak_at_full_scale_is_no_clipping() -> None:
    samples = tone(1.0)
    samples[100] = 1.0
    assert judge_sound(samples, RATE, BOUNDS).accepted


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        (replace(GOOD, measured=sung(duration_s=0.5)), "too_fast"),
        (replace(GOOD, measured=sung(duration_s=9.0, pause_share=0.8)), "too_slow"),
        (replace(GOOD, heard=replace(HEARD, transcript="I cannot leave it to that.")), "word_error"),
        (replace(GOOD, heard=replace(HEARD, transcript="")), "word_error"),
        (replace(GOOD, heard=replace(HEARD, dnsmos=2.99)), "poor_sound"),
        (replace(GOOD, heard=replace(HEARD, dnsmos=math.nan)), "poor_sound"),
        (replace(GOOD, heard=replace(HEARD, speaker=np.array([0.6, 0.8], np.float32))), "other_speaker"),
        (replace(GOOD, delivery=Delivery(pitch_st=3.0), measured=sung(f0_mean_hz=190.0)), "wrong_side"),
        (replace(GOOD, delivery=Delivery(rate_oct=-0.4), measured=sung(duration_s=1.9)), "wrong_side"),
        (replace(GOOD, delivery=Delivery(gain_db=6.0), measured=sung(loudness_db=-23.0)), "wrong_side"),
    ],
)
def test_each_fault_has_its_reason(take: Take, expected: str) -> None:
    verdict = judge_take(take, BOUNDS)
    assert verdict.reason == expected
    assert verdict.detail


def test_the_duration_allowed_follows_the_rate_asked_for() -> None:
    slow = replace(GOOD, measured=sung(duration_s=7.5))
    assert reason(slow) == "too_slow"
    assert reason(replace(slow, delivery=Delivery(rate_oct=-0.5))) is None


def test_one_word_of_four_may_be_heard_wrong() -> None:
    take = replace(GOOD, text="You lied to Aisha.", heard=replace(HEARD, transcript="You lied to Isha."))
    assert reason(take) is None
    assert judge_take(take, ClipBounds(max_wer=0.2)).reason == "word_error"


def test_only_what_was_asked_strongly_is_held_against_a_take() -> None:
    lower = replace(GOOD, measured=sung(f0_mean_hz=190.0))
    assert reason(replace(lower, delivery=Delivery(pitch_st=0.9))) is None
    assert reason(replace(lower, delivery=Delivery(pitch_st=1.1))) == "wrong_side"
    assert reason(replace(lower, delivery=Delivery(pitch_st=-3.0))) is None
    assert judge_take(replace(lower, delivery=Delivery(pitch_st=3.0)), ClipBounds(strong=Strong(pitch=5.0))).accepted


def test_pauses_do_not_count_as_slow_speech() -> None:
    paused = sung(duration_s=2.5, pause_share=0.2)
    assert measured_differences(paused, NEUTRAL)["rate"] == pytest.approx(0.0)


def test_a_take_without_voice_is_not_compared_in_pitch() -> None:
    whispered = sung(f0_mean_hz=0.0, f0_range_st=0.0)
    assert wrong_sides(Delivery(pitch_st=6.0), whispered, NEUTRAL) == {}
    assert math.isfinite(delivery_distance(Delivery(), whispered, NEUTRAL))


def test_the_distance_is_in_noticeable_differences() -> None:
    assert delivery_distance(Delivery(), NEUTRAL, NEUTRAL) == 0.0
    off = sung(f0_mean_hz=200.0 * 2 ** (2 * NOTICEABLE.pitch / 12))
    assert delivery_distance(Delivery(), off, NEUTRAL) == pytest.approx(2 / math.sqrt(5))
    assert delivery_distance(Delivery(), sung(duration_s=2 / 1.05), NEUTRAL) == pytest.approx(1 / math.sqrt(5))


def test_nothing_is_known_of_a_silent_take() -> None:
    silent = sung(f0_mean_hz=0.0, duration_s=0.0)
    assert delivery_distance(Delivery(), silent, NEUTRAL) == math.inf


deliveries = st.builds(
    Delivery,
    pitch_st=st.floats(-4, 4),
    range_oct=st.floats(-1, 1),
    rate_oct=st.floats(-0.5, 0.5),
    tilt_db=st.floats(-6, 6),
    gain_db=st.floats(-6, 6),
)


def done(delivery: Delivery) -> Prosody:
    return sung(
        f0_mean_hz=200.0 * 2 ** (delivery.pitch_st / 12),
        f0_range_st=4.0 * 2**delivery.range_oct,
        duration_s=2.0 * 2**-delivery.rate_oct,
        tilt_db=-9.0 + TILT_SEEN * delivery.tilt_db,
        loudness_db=-22.0 + delivery.gain_db,
    )


@given(asked=deliveries, other=deliveries)
@settings(max_examples=50, deadline=None)
def test_what_was_asked_is_nearest_and_on_the_right_side(asked: Delivery, other: Delivery) -> None:
    assert delivery_distance(asked, done(asked), NEUTRAL) == pytest.approx(0, abs=1e-6)
    assert delivery_distance(asked, done(other), NEUTRAL) >= 0
    assert wrong_sides(asked, done(asked), NEUTRAL) == {}
    assert asked_differences(asked, NEUTRAL) == pytest.approx(measured_differences(done(asked), NEUTRAL), abs=1e-6)


def test_similarity_is_the_cosine_and_stays_in_its_bounds() -> None:
    long = np.full(256, 1 / 16, dtype=np.float32)
    assert speaker_similarity(long, long) <= 1.0
    assert speaker_similarity(VOICE, np.array([0.0, 1.0], np.float32)) == 0.0
