# SPDX-License-Identifier: Apache-2.0
"""Prosody of signals whose pitch, level, rate, tilt and pauses are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from validators.errors import InputError
from validators.prosody import SILENCE_DB, measure_prosody, spoken_s
from validators.speech_records import Prosody

RATE = 24_000
FRAME_S = 0.016
NO_PITCH = np.zeros(1)


def tone(seconds: float, hertz: float = 200.0, level: float = 0.1, rate: int = RATE) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def syllables(per_second: float, seconds: float = 3.0, rate: int = RATE) -> NDArray[np.float64]:
    """A buzz of harmonics that falls off by 6 dB an octave and swells and fades `per_second` times a second."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * n * time + n * n) / n for n in range(1, 35))
    return np.asarray(0.1 * buzz * (0.1 + 0.9 * np.sin(np.pi * per_second * time) ** 2))


def silence(seconds: float) -> NDArray[np.float64]:
    return np.zeros(round(seconds * RATE))


def measure(sound: NDArray[np.float64], f0_hz: NDArray[np.float64] = NO_PITCH, rate: int = RATE) -> Prosody:
    return measure_prosody(sound, rate, f0_hz, FRAME_S)


def test_the_mean_of_f0_is_the_geometric_one_of_the_voiced_frames() -> None:
    found = measure(tone(1.0), np.array([0.0, 100.0, 0.0, 400.0, 0.0]))
    assert found.f0_mean_hz == pytest.approx(200.0)


def test_the_range_of_f0_goes_from_the_20th_to_the_80th_percentile_in_semitones() -> None:
    octave = 100 * 2 ** np.linspace(0, 1, 51)
    found = measure(tone(1.0), octave)
    assert found.f0_range_st == pytest.approx(0.6 * 12)
    one_error = np.append(octave, 800.0)
    assert measure(tone(1.0), one_error).f0_range_st == pytest.approx(0.6 * 12, abs=0.3)


def test_pitch_that_a_tracker_finds_in_silence_does_not_count() -> None:
    sound = np.concatenate([tone(0.5), silence(0.5)])
    f0_hz = np.where(np.arange(62) * FRAME_S < 0.5, 200.0, 900.0)
    assert measure(sound, f0_hz).f0_mean_hz == pytest.approx(200.0)


def test_voiced_share_is_of_the_time_spoken() -> None:
    f0_hz = np.where(np.arange(62) % 2, 200.0, 0.0)
    assert measure(tone(1.0), f0_hz).voiced_share == pytest.approx(0.5, abs=0.02)


def test_loudness_is_the_level_of_the_sounding_part() -> None:
    half = tone(1.0, level=0.5)
    assert measure(half).loudness_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert measure(np.concatenate([half, silence(3.0)])).loudness_db == pytest.approx(-9.03, abs=0.01)


@pytest.mark.parametrize("per_second", [2, 3, 4, 5, 6])
def test_rate_counts_the_swells_of_the_voice(per_second: int) -> None:
    assert measure(syllables(per_second)).rate_hz == pytest.approx(per_second, rel=0.08)


def test_a_pause_does_not_slow_the_rate() -> None:
    spoken = syllables(4, seconds=1.5)
    paused = measure(np.concatenate([spoken, silence(1.0), spoken]))
    assert paused.rate_hz == pytest.approx(measure(np.concatenate([spoken, spoken])).rate_hz, rel=0.1)


def test_tilt_is_the_energy_above_1_khz_over_that_below() -> None:
    equal = measure(tone(1.0, 500.0) + tone(1.0, 2000.0))
    assert equal.tilt_db == pytest.approx(0.0, abs=0.1)
    bright = measure(tone(1.0, 500.0) + 2 * tone(1.0, 2000.0))
    assert bright.tilt_db == pytest.approx(20 * np.log10(2), abs=0.1)
    outside = measure(tone(1.0, 500.0) + tone(1.0, 2000.0) + tone(1.0, 8000.0))
    assert outside.tilt_db == pytest.approx(0.0, abs=0.1)
    assert measure(tone(1.0, 500.0)).tilt_db < -30  # and not minus infinity


def test_pauses_count_from_150_ms_on_and_only_between_sounds() -> None:
    long = measure(np.concatenate([silence(0.4), tone(1.0), silence(0.5), tone(1.0), silence(0.7)]))
    assert long.pause_share == pytest.approx(0.2)
    assert long.duration_s == pytest.approx(2.5)
    assert spoken_s(long) == pytest.approx(2.0)
    short = measure(np.concatenate([tone(1.0), silence(0.14), tone(1.0)]))
    assert short.pause_share == 0.0


@given(gain_db=st.floats(-30, 12), per_second=st.floats(2, 6))
@settings(max_examples=25, deadline=None)
def test_gain_changes_loudness_by_as_much_and_nothing_else(gain_db: float, per_second: float) -> None:
    sound = np.concatenate([syllables(per_second, 1.0), silence(0.3), syllables(per_second, 0.5)])
    f0_hz = np.full(100, 120.0)
    before, after = measure(sound, f0_hz), measure(sound * 10 ** (gain_db / 20), f0_hz)
    assert after.loudness_db - before.loudness_db == pytest.approx(gain_db, abs=1e-6)
    same = {"loudness_db"}
    assert after.model_dump(exclude=same) == pytest.approx(before.model_dump(exclude=same), abs=1e-6)


@given(per_second=st.floats(2, 6), silent_s=st.floats(0, 0.5))
@settings(max_examples=15, deadline=None)
def test_silence_around_changes_nothing(per_second: float, silent_s: float) -> None:
    frames = silence(round(silent_s, 2))
    sound = syllables(per_second, 1.0)
    bare, padded = measure(sound), measure(np.concatenate([frames, sound, frames]))
    assert padded.model_dump() == pytest.approx(bare.model_dump(), rel=0.02, abs=0.02)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_the_sample_rate_does_not_matter(rate: int) -> None:
    sound = np.concatenate([syllables(4), silence(0.3), syllables(5, 1.0)])
    shared = int(np.gcd(RATE, rate))
    other = measure(resample_poly(sound, rate // shared, RATE // shared), np.full(100, 120.0), rate=rate)
    here = measure(sound, np.full(100, 120.0))
    assert other.rate_hz == pytest.approx(here.rate_hz, rel=0.1)
    assert other.loudness_db == pytest.approx(here.loudness_db, abs=0.1)
    assert other.tilt_db == pytest.approx(here.tilt_db, abs=0.3)
    assert other.duration_s == pytest.approx(here.duration_s, abs=0.03)
    assert other.pause_share == pytest.approx(here.pause_share, abs=0.01)
    assert other.f0_mean_hz == pytest.approx(120.0)


@pytest.mark.parametrize("sound", [silence(1.0), np.full(RATE, 1e-6), np.zeros(1)])
def test_silence_has_a_loudness_and_zeros(sound: NDArray[np.float64]) -> None:
    found = measure(sound, np.full(50, 200.0))
    assert found.loudness_db == SILENCE_DB
    assert set(found.model_dump(exclude={"loudness_db"}).values()) == {0.0}


def test_a_clip_shorter_than_a_frame_is_measured() -> None:
    assert measure(tone(0.004)).duration_s == pytest.approx(0.01)
    assert measure(tone(0.05)).rate_hz >= 0


@pytest.mark.parametrize(
    ("sound", "rate", "f0_hz", "frame_s"),
    [
        (np.zeros(0), RATE, NO_PITCH, FRAME_S),
        (np.zeros((10, 2)), RATE, NO_PITCH, FRAME_S),
        (np.array([0.0, np.nan]), RATE, NO_PITCH, FRAME_S),
        (np.array([0.0, np.inf]), RATE, NO_PITCH, FRAME_S),
        (tone(0.1), 8_000, NO_PITCH, FRAME_S),
        (tone(0.1), RATE, np.array([np.nan]), FRAME_S),
        (tone(0.1), RATE, np.array([-1.0]), FRAME_S),
        (tone(0.1), RATE, NO_PITCH, 0.0),
    ],
)
def test_what_is_no_sound_is_refused(
    sound: NDArray[np.float64], rate: int, f0_hz: NDArray[np.float64], frame_s: float
) -> None:
    with pytest.raises(InputError):
        measure_prosody(sound, rate, f0_hz, frame_s)


def test_a_clip_without_a_pitch_track_has_no_pitch() -> None:
    found = measure(tone(0.5), np.zeros(0))
    assert (found.f0_mean_hz, found.f0_range_st, found.voiced_share) == (0.0, 0.0, 0.0)
