# SPDX-License-Identifier: Apache-2.0
"""The double of a reader: scores made from the hash of a text, for tests and dry runs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from generators.shares import stable_hash
from validators.roles import Passage

HASH_SPACE = 2.0**64  # what a stable hash is below


class EchoReader:
    """Gives every label a score that is spread evenly over 0 to 1 and hangs on text and context alone."""

    model = "echo"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.thresholds: NDArray[np.float64] = np.full(len(self.labels), 0.5)

    def read(self, passages: Sequence[Passage]) -> NDArray[np.float64]:
        """Score passages; shape (len(passages), len(labels))."""
        scores = [
            [stable_hash(passage.text, passage.context, label) / HASH_SPACE for label in self.labels]
            for passage in passages
        ]
        return np.array(scores, dtype=np.float64).reshape(len(passages), len(self.labels))

    def close(self) -> None:
        """Hold nothing."""
