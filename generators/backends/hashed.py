# SPDX-License-Identifier: Apache-2.0
"""The test double of an encoder: a hashed bag of words and word pairs, so that similar texts get near vectors."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from generators.encoder import EncoderSettings
from validators.roles import Encoder

DIMENSIONS = 64


def open_encoder(settings: EncoderSettings) -> Encoder:
    """Start the double; it needs no weights."""
    return HashedEncoder(settings.name)


class HashedEncoder:
    """Adds plus or minus one at a hashed place for every word and pair of neighbouring words."""

    def __init__(self, name: str = "hashed") -> None:
        self.model = name

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; a text without words gets the first unit vector, so that every row has length 1."""
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            words = re.findall(r"\w+", text.casefold())
            for gram in [*words, *(" ".join(pair) for pair in itertools.pairwise(words))]:
                place, sign = _bucket(gram)
                row[place] += sign
            if not row.any():  # no words, or signs that cancelled out
                row[0] = 1.0
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


@lru_cache(maxsize=100_000)
def _bucket(gram: str) -> tuple[int, float]:
    number = int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=8).digest())
    return number % DIMENSIONS, 1.0 if number >> 63 else -1.0
