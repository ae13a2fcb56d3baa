# SPDX-License-Identifier: Apache-2.0
"""The test double of a listener: pitch, voice and quality from plain signal processing, words from a table."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from generators.speech.listeners import ListenerSettings
from validators.errors import InputError
from validators.roles import Heard, Listener, Sound

FRAME_S = 0.01
DIMENSIONS = 20
_WINDOW_S = 0.04  # two periods of the lowest voice
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 500.0
_VOICED = 0.6  # of the energy repeats after one period
_AUDIBLE = 1e-3
_REGISTERS = np.linspace(np.log2(_LOWEST_HZ), np.log2(_HIGHEST_HZ), DIMENSIONS - 8)
_REGISTER_OCTAVES = 0.5  # as wide as a voice moves: a third up stays the same speaker, an octave does not
_BANDS_HZ = np.geomspace(50.0, 5000.0, 9)


def open_listener(settings: ListenerSettings) -> Listener:
    """Start the double; it needs no weights. `options["transcripts"]` maps a sound's `fingerprint` to its words."""
    transcripts = settings.options.get("transcripts", {})
    if not isinstance(transcripts, Mapping):
        raise InputError("the transcripts of the quiet listener must be a table from fingerprint to words")
    return QuietListener(settings.name, transcripts)


def fingerprint(samples: NDArray[np.float32]) -> str:
    """Name a sound by its samples as 16-bit numbers, so that it is the same after a lossless file."""
    steps = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    return hashlib.blake2b(steps.tobytes(), digest_size=8).hexdigest()


class QuietListener:
    """Hears the same in the same samples, always."""

    def __init__(self, name: str = "quiet", transcripts: Mapping[str, str] | None = None) -> None:
        self.model = name
        self._transcripts = transcripts or {}

    def listen(self, sound: Sound) -> Heard:
        """Listen to one clip; a sound that is not in the table has the transcript ""."""
        samples = _checked(sound)
        f0_hz, frame_s = self.track_pitch(sound)
        return Heard(
            transcript=self._transcripts.get(fingerprint(sound.samples), ""),
            dnsmos=_quality(samples),
            speaker=_voice(samples, sound.sample_rate, f0_hz),
            f0_hz=f0_hz,
            frame_s=frame_s,
        )

    def track_pitch(self, sound: Sound) -> tuple[NDArray[np.float32], float]:
        """F0 by autocorrelation: the first period after which the sound repeats nearly as well as it ever does."""
        samples = _checked(sound)
        width, hop = round(sound.sample_rate * _WINDOW_S), round(sound.sample_rate * FRAME_S)
        around = np.pad(samples, (width // 2, width))
        windows = sliding_window_view(around, width)[::hop][: -(-len(samples) // hop)]
        windows = (windows - windows.mean(axis=1, keepdims=True)) * np.hanning(width)
        spectra = np.abs(np.fft.rfft(windows, 2 * width, axis=1)) ** 2
        repeats = np.fft.irfft(spectra, axis=1)[:, :width]
        taper = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(width), 2 * width)) ** 2)[:width]
        repeats = repeats / (repeats[:, :1] + 1e-9) * (taper[0] / np.maximum(taper, 1e-3 * taper[0]))
        shortest, longest = int(sound.sample_rate / _HIGHEST_HZ), int(sound.sample_rate / _LOWEST_HZ)
        best = repeats[:, shortest:longest].max(axis=1)
        audible = np.abs(windows).max(axis=1) > _AUDIBLE
        f0_hz = np.zeros(len(windows), dtype=np.float32)
        voiced = (best > _VOICED) & audible
        f0_hz[voiced] = sound.sample_rate / _periods(repeats[voiced], shortest, longest, 0.9 * best[voiced])
        return f0_hz, FRAME_S

    def close(self) -> None:
        """Hold nothing."""


def _checked(sound: Sound) -> NDArray[np.float64]:
    samples = np.asarray(sound.samples, dtype=np.float64)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise InputError(f"a listener needs one channel of finite samples, found shape {samples.shape}")
    return samples


def _periods(
    repeats: NDArray[np.float64], shortest: int, longest: int, least: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find in each row the first peak that is high enough, between samples by the parabola through its neighbours."""
    before, here, after = (repeats[:, shortest + step : longest + step] for step in (-1, 0, 1))
    peaks = (here >= least[:, None]) & (here >= before) & (here >= after)
    found = peaks.any(axis=1)
    lags = np.where(found, peaks.argmax(axis=1), here.argmax(axis=1))
    low, top, high = (part[np.arange(len(lags)), lags] for part in (before, here, after))
    bend = low - 2 * top + high
    moved = np.divide(0.5 * (low - high), bend, out=np.zeros_like(bend), where=found & (bend != 0))
    return np.asarray(shortest + lags + moved, dtype=np.float64)


def _quality(samples: NDArray[np.float64]) -> float:
    """Score 4 for a sound, less where it is cut at full scale, 1 for silence."""
    loudest = float(np.abs(samples).max())
    return 1.0 if loudest < _AUDIBLE else 4.0 - 3.0 * float(np.mean(np.abs(samples) >= 0.9999))


def _voice(samples: NDArray[np.float64], sample_rate: int, f0_hz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embed a voice by its register and, at half the weight, by the shape of its spectrum; length 1."""
    row = np.zeros(DIMENSIONS)
    voiced = f0_hz[f0_hz > 0]
    if len(voiced):
        distance = (np.log2(np.median(voiced)) - _REGISTERS) / _REGISTER_OCTAVES
        row[: len(_REGISTERS)] = np.exp(-0.5 * distance**2)
    power = np.abs(np.fft.rfft(samples)) ** 2
    bands = np.digitize(np.fft.rfftfreq(len(samples), 1 / sample_rate), _BANDS_HZ)
    levels = np.log10([1e-6 * power.sum() + 1e-12 + power[bands == band].sum() for band in range(1, 9)])
    row[len(_REGISTERS) :] = levels - levels.mean()
    for part, weight in ((slice(len(_REGISTERS)), 1.0), (slice(len(_REGISTERS), None), 0.5)):
        length = np.linalg.norm(row[part])
        row[part] *= weight / length if length > 1e-9 else 0.0
    if not row.any():  # silence
        row[0] = 1.0
    return np.asarray(row / np.linalg.norm(row), dtype=np.float32)
