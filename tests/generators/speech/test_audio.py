# SPDX-License-Identifier: Apache-2.0
"""Pieces and turns are joined without clicks, and come back from FLAC as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.speech.audio import decode, encode_flac, fade, join_pieces, join_turns
from generators.speech.voices import SAMPLE_RATE


def tone(seconds, level=0.5):
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.cos(2 * np.pi * 200 * times)).astype(np.float32)


def largest_step(samples):
    return float(np.abs(np.diff(samples)).max())


@given(st.lists(st.floats(0.02, 0.3), min_size=1, max_size=5))
def test_no_joint_clicks(lengths):
    pieces = [tone(seconds) for seconds in lengths]
    joined = join_pieces(pieces)
    assert joined[0] == joined[-1] == 0
    # a cosine starts at its top: without a fade the first step would be half of full scale
    assert largest_step(joined) < 2 * largest_step(pieces[0]) + 0.02


def test_turns_lie_where_they_are_said_to():
    turns = [tone(0.5), tone(0.25), tone(1.0)]
    joined, placed = join_turns(turns, [0.2, 0.4])
    assert [(round(one.begin_s, 3), round(one.end_s, 3)) for one in placed] == [(0, 0.5), (0.7, 0.95), (1.35, 2.35)]
    assert len(joined) == round(placed[-1].end_s * SAMPLE_RATE)
    for one, turn in zip(placed, turns, strict=True):
        begin = round(one.begin_s * SAMPLE_RATE)
        assert np.array_equal(joined[begin : begin + len(turn)], fade(turn))
    with pytest.raises(ValueError, match="2 gaps"):
        join_turns(turns, [0.2])


def test_flac_keeps_samples_to_sixteen_bits():
    samples = tone(0.3, 0.98)
    assert np.allclose(decode(encode_flac(samples)), samples, atol=1 / 2**15)
    assert len(encode_flac(samples)) < samples.nbytes / 2


@pytest.mark.parametrize("bad", [np.array([0.0, np.nan], np.float32), np.array([1.5], np.float32)])
def test_what_is_no_sound_is_not_written(bad):
    with pytest.raises(ValueError, match="finite"):
        encode_flac(bad)


def test_samples_of_another_rate_are_refused():
    import io

    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, tone(0.1), 16_000, format="FLAC")
    with pytest.raises(ValueError, match="16000"):
        decode(stream.getvalue())
