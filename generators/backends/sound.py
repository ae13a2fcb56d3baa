# SPDX-License-Identifier: Apache-2.0
"""What every voice does to its sound last: spectral tilt, level, and a peak that never clips."""

import math

import numpy as np
from scipy.signal import lfilter  # type: ignore[import-untyped]

from generators.speech.voices import SAMPLE_RATE, Samples
from validators.speech_records import Delivery

TILT_HZ = 1500  # middle of the shelf: between vocal effort's strong low harmonics and the consonants
PEAK = 0.98  # below 1, so that resampling and a lossy format later do not clip either


def finish(samples: Samples, delivery: Delivery) -> Samples:
    """Apply tilt and gain (dB), then scale down to `PEAK` what would be louder; 0 dB leaves the samples as they are."""
    shaped = np.asarray(samples, dtype=np.float64)
    if delivery.tilt_db:
        shaped = lfilter(*_high_shelf(delivery.tilt_db), shaped)
    if delivery.gain_db:
        shaped = shaped * 10 ** (delivery.gain_db / 20)
    loudest = float(np.abs(shaped).max(initial=0.0))
    if loudest > PEAK:
        shaped = shaped * (PEAK / loudest)
    return shaped.astype(np.float32)


def _high_shelf(gain_db: float) -> tuple[list[float], list[float]]:
    """Numerator and denominator of a second-order shelf of slope 1 (Bristow-Johnson's cookbook)."""
    amplitude = 10 ** (gain_db / 40)
    angle = 2 * math.pi * TILT_HZ / SAMPLE_RATE
    cosine, alpha = math.cos(angle), math.sin(angle) / math.sqrt(2)
    more, less, root = amplitude + 1, amplitude - 1, 2 * math.sqrt(amplitude) * alpha
    numerator = [
        amplitude * (more + less * cosine + root),
        -2 * amplitude * (less + more * cosine),
        amplitude * (more + less * cosine - root),
    ]
    denominator = [more - less * cosine + root, 2 * (less - more * cosine), more - less * cosine - root]
    return numerator, denominator
