# SPDX-License-Identifier: Apache-2.0
"""The small Protocols through which a model reaches the validators, always as an argument."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """A sentence encoder."""

    @property
    def model(self) -> str:
        """Name and revision of the weights."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as an array of shape (len(texts), dimensions), float32, each row of length 1."""
        ...
