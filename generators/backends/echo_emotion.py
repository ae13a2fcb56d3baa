# SPDX-License-Identifier: Apache-2.0
"""The double of a listener for emotion: scores made from the samples' hash, for tests and dry runs."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from generators.backends.classifier import ClassifierSettings
from generators.shares import stable_hash
from validators.roles import EmotionListener, Sound

HASH_SPACE = 2.0**64  # what a stable hash is below


def open_listener(settings: ClassifierSettings, labels: Sequence[str]) -> EmotionListener:
    """Start the double, which needs no weights; a label that its map gives null is one that it does not know."""
    return EchoEmotion([label for label in labels if settings.label_map.get(label, label) is not None])


class EchoEmotion:
    """Gives every label a score that is spread evenly over 0 to 1 and hangs on the samples alone."""

    model = "echo"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.thresholds: NDArray[np.float64] = np.full(len(self.labels), 0.5)

    def hear(self, sound: Sound) -> NDArray[np.float64]:
        """Score a sound; shape (len(labels),)."""
        heard = hashlib.sha256(sound.samples.tobytes()).hexdigest()
        return np.array([stable_hash(heard, label) / HASH_SPACE for label in self.labels])

    def close(self) -> None:
        """Hold nothing."""
