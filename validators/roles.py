# SPDX-License-Identifier: Apache-2.0
"""The small Protocols through which a model reaches the validators, always as an argument."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to be read: alone, or after the situation before it. It never carries what was intended."""

    text: str
    context: str | None = None


class Reader(Protocol):
    """A blind reader: scores every label of a taxonomy for a text.

    A score is the reader's probability that a person would give the label; `thresholds` says from which score on a
    label counts as found, since a rare label never reaches the scores of a common one.
    """

    @property
    def model(self) -> str:
        """Name and revision (or hash), as stored in every row that it read."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the columns, in the order of the taxonomy."""
        ...

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Shape (len(labels),), each between 0 and 1 exclusive."""
        ...

    def read(self, passages: Sequence[Passage]) -> NDArray[np.float64]:
        """Scores of shape (len(passages), len(labels)), each from 0 to 1 and finite."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
