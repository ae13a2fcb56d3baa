# SPDX-License-Identifier: Apache-2.0
"""Texts with labels from people, as readers are trained on and students are tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTexts:
    """Texts and their targets, one column a label.

    `targets` has shape (len(texts), len(labels)) and holds values from 0 to 1: 0 and 1 where people chose labels, in
    between where several people were asked or a reader scored (soft labels).
    """

    name: str
    """What the data is called in cards, free of paths."""
    licence: str
    sha256: str
    """Of texts, labels and targets; identifies the data in cards."""
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    targets: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.targets.shape != (len(self.texts), len(self.labels)):
            raise ValueError(f"targets of shape {self.targets.shape} for {len(self.texts)} texts")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def chosen(self) -> NDArray[np.bool_]:
        """Which labels count as chosen: a target of at least one half."""
        return self.targets >= 0.5

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Select rows by their positions; the hash stays that of the whole."""
        picked = np.asarray(rows, dtype=np.int64)
        return type(self)(
            self.name,
            self.licence,
            self.sha256,
            tuple(self.texts[index] for index in picked),
            self.labels,
            self.targets[picked],
        )
