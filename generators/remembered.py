# SPDX-License-Identifier: Apache-2.0
"""An encoder that embeds each text once, for work that meets the same texts again and again."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from validators.roles import Encoder

BLOCK_TEXTS = 1024  # between two reports of progress; also bounds what is lost on an interrupt


class RememberingEncoder:
    """Keeps all vectors in memory: 1.5 kB a text at 384 dimensions."""

    def __init__(self, encoder: Encoder, on_encoded: Callable[[int], None] | None = None) -> None:
        self.model = encoder.model
        self._encoder = encoder
        self._on_encoded = on_encoded
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as an array of shape (len(texts), dimensions); only texts not met before reach the encoder."""
        # by length, so that the blocks need little padding
        new = sorted(set(texts) - self._vectors.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), BLOCK_TEXTS):
            block = new[start : start + BLOCK_TEXTS]
            self._vectors.update(zip(block, self._encoder.encode(block), strict=True))
            if self._on_encoded is not None:
                self._on_encoded(len(block))
        if not texts:
            return self._encoder.encode([])
        return np.stack([self._vectors[text] for text in texts])
