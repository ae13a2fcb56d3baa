# SPDX-License-Identifier: Apache-2.0
"""Samples put together and written as FLAC: pieces of a text, turns of a dialogue, without clicks at the joints."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from generators.speech.voices import SAMPLE_RATE, Samples

FADE_S = 0.004  # long enough to take a step away, too short to hear
PIECE_GAP_S = 0.18  # between sentences of one speaker
TURN_GAPS_S = (0.15, 0.45)
"""Between speakers: the mode of floor transfers over ten languages is 0.2 s, most lie below half a second (Stivers et
al. 2009)."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a turn lies in the file of its dialogue."""

    begin_s: float
    end_s: float


def join_pieces(pieces: Sequence[Samples], gap_s: float = PIECE_GAP_S) -> Samples:
    """Put pieces of one text together, faded at their borders, with silence in between."""
    if len(pieces) == 1:
        return fade(pieces[0])
    silence = np.zeros(round(gap_s * SAMPLE_RATE), dtype=np.float32)
    parts = [part for piece in pieces for part in (silence, fade(piece))][1:]
    return np.concatenate(parts)


def join_turns(turns: Sequence[Samples], gaps_s: Sequence[float]) -> tuple[Samples, list[Placed]]:
    """Put the turns of a dialogue together, with the gap before each but the first, and tell where each one lies."""
    if len(gaps_s) != len(turns) - 1:
        raise ValueError(f"{len(turns)} turns have {len(turns) - 1} gaps between them, not {len(gaps_s)}")
    parts: list[Samples] = []
    placed: list[Placed] = []
    n_samples = 0
    for turn, gap_s in zip(turns, (0.0, *gaps_s), strict=True):
        silence = np.zeros(round(gap_s * SAMPLE_RATE), dtype=np.float32)
        begin = n_samples + len(silence)
        n_samples = begin + len(turn)
        parts += [silence, fade(turn)]
        placed.append(Placed(begin / SAMPLE_RATE, n_samples / SAMPLE_RATE))
    return np.concatenate(parts), placed


def fade(samples: Samples) -> Samples:
    """Let samples begin and end at 0."""
    length = min(round(FADE_S * SAMPLE_RATE), len(samples) // 2)
    if not length:
        return samples
    faded = samples.astype(np.float32, copy=True)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    faded[:length] *= ramp
    faded[-length:] *= ramp[::-1]
    return faded


def encode_flac(samples: Samples) -> bytes:
    """Write samples as FLAC, 16 bits, one channel; what lies beyond full scale is an error of whoever made them."""
    if not np.isfinite(samples).all() or (len(samples) and np.abs(samples).max() > 1):
        raise ValueError("samples must be finite and within -1 to 1")
    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def decode(data: bytes) -> Samples:
    """Read one channel of an encoded sound at SAMPLE_RATE."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        raise ValueError(f"the clip has {rate} samples a second, not {SAMPLE_RATE}")
    return np.ascontiguousarray(samples[:, 0])
