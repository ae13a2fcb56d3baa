# SPDX-License-Identifier: Apache-2.0
"""DNSMOS P.835: how good speech sounds to people, guessed by Microsoft's model from the package `speechmos`.

Reddy, Gopal and Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors", ICASSP 2022. The package's own code runs a second model (P.808) that takes most of the time and that
nothing here reads.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.backends.packaged_onnx import named_version, open_packaged

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = int(9.01 * SAMPLE_RATE)  # what the model was trained on; shorter sound is repeated to fill it
HOP_SAMPLES = SAMPLE_RATE
_OVERALL = np.poly1d([-0.06766283, 1.11546468, 0.04602535])  # from the model's scale to that of people, speechmos 0.0.1


class Dnsmos:
    """Scores clips of 16 kHz from about 1 (bad) to 5 (excellent)."""

    model = "DNSMOS-P.835"

    def __init__(self) -> None:
        self.model = f"DNSMOS-P.835:{named_version('speechmos')}"
        self._session: Any = open_packaged(
            "speechmos", "dnsmos_models/sig_bak_ovr.onnx", install="pip install --no-deps speechmos==0.0.1.1"
        )

    def score(self, samples: NDArray[np.float32]) -> float:
        """Score the overall quality: the mean over windows of 9 s that lie 1 s apart."""
        sound = samples
        while len(sound) < WINDOW_SAMPLES:  # doubled, as its authors do: scores depend on where the seams are
            sound = np.concatenate([sound, sound])
        starts = range(0, len(sound) - WINDOW_SAMPLES + 1, HOP_SAMPLES)
        scores = [
            float(self._session.run(None, {"input_1": sound[None, start : start + WINDOW_SAMPLES]})[0][0][2])
            for start in starts
        ]
        return float(np.mean(_OVERALL(np.asarray(scores))))
