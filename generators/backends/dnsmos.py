# SPDX-License-Identifier: Apache-2.0
"""DNSMOS P.835: how good speech sounds to people, guessed by Microsoft's model from the package `speechmos`.

Reddy, Gopal and Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to evaluate noise
suppressors", ICASSP 2022. The package's own code also runs a second model (P.808) that nothing here reads, and for
it compiles librosa's filters with numba: 64 s at the first clip on a busy machine of two cores.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.backends.packaged_onnx import named_version, open_packaged

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = int(9.01 * SAMPLE_RATE)  # what the model takes
HOP_SAMPLES = SAMPLE_RATE
_OVERALL = np.poly1d([-0.06766283, 1.11546468, 0.04602535])  # from the model's scale to that of people, speechmos 0.0.1


class Dnsmos:
    """Scores clips of 16 kHz from about 1 (bad) to 5 (excellent)."""

    def __init__(self) -> None:
        self.model = f"DNSMOS-P.835:{named_version('speechmos')}"
        self._session: Any = open_packaged(
            "speechmos", "dnsmos_models/sig_bak_ovr.onnx", install="pip install --no-deps speechmos==0.0.1.1"
        )

    def score(self, samples: NDArray[np.float32]) -> float:
        """Score the overall quality of samples within -1 to 1: the mean over windows of 9 s that lie 1 s apart.

        Shorter sound is repeated to fill one window. The package repeats it up to twice as long and scores up to
        nine windows of the same: on ten clips of 3 to 7 s that moved the score by 0.02 on average (0.05 at most), and
        took up to five times as long.
        """
        times = -(-WINDOW_SAMPLES // len(samples))
        sound = np.tile(samples, times) if times > 1 else samples
        last = 0 if times > 1 else len(sound) - WINDOW_SAMPLES
        scores = [
            float(self._session.run(None, {"input_1": sound[None, start : start + WINDOW_SAMPLES]})[0][0][2])
            for start in range(0, last + 1, HOP_SAMPLES)
        ]
        return float(np.mean(_OVERALL(np.asarray(scores))))
