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


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One clip to be listened to: samples of shape (n,), one channel, within -1 to 1, and the language spoken.

    It never carries the text or what was intended.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    language: str


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What a listener found in one clip.

    `f0_hz` has one value a frame (0 where unvoiced) and `frame_s` is their distance; `speaker` is an embedding of
    length 1, shape (dimensions,).
    """

    transcript: str
    dnsmos: float
    speaker: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    frame_s: float


class Listener(Protocol):
    """A blind listener: what is said, how well it sounds, whose voice it is, and how its pitch moves."""

    @property
    def model(self) -> str:
        """Names and revisions of all that it is made of."""
        ...

    def listen(self, sound: Sound) -> Heard:
        """Listen to one clip."""
        ...

    def track_pitch(self, sound: Sound) -> tuple[NDArray[np.float32], float]:
        """F0 alone (Hz a frame, 0 where unvoiced; distance of frames in seconds): what a neutral take is asked for."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class EmotionListener(Protocol):
    """A blind listener for emotion: scores labels of a taxonomy for a sound, as a `Reader` does for a text.

    Its model rarely knows all labels; `labels` are those that it knows, in the order of the taxonomy.
    """

    @property
    def model(self) -> str:
        """Name and revision, as stored in every row that it heard."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the taxonomy that its model knows."""
        ...

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Shape (len(labels),), each between 0 and 1 exclusive: from which score on a label counts as heard."""
        ...

    def hear(self, sound: Sound) -> NDArray[np.float64]:
        """Scores of shape (len(labels),), each from 0 to 1 and finite."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
