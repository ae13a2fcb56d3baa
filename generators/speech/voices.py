# SPDX-License-Identifier: Apache-2.0
"""The voice role: what every speech engine takes and gives."""

import difflib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from validators.errors import InputError
from validators.speech_records import Delivery, ReferenceVoice, VoiceCard

Samples = NDArray[np.float32]
"""One channel, shape (samples,), within -1 to 1."""

ALL_CONTROLS = frozenset(Delivery.model_fields)

SAMPLE_RATE = 24_000  # of all clips; engines with another rate are resampled


@dataclass(frozen=True, slots=True)
class Speech:
    """One piece of text to be said: short enough for the engine, by one of its voices, in a delivery.

    The same speech and seed give the same samples where the engine allows it. `feeling` is the canonical label behind
    the delivery ("" for none) and `strength` its share of a strong one, for engines that take it from a recording.
    """

    text: str
    voice: str
    delivery: Delivery = field(default_factory=Delivery)
    seed: int = 0
    feeling: str = ""
    strength: float = 1.0


class Voice(Protocol):
    """A speech engine with one voice or many."""

    @property
    def model(self) -> str:
        """Name and revision of the weights."""
        ...

    @property
    def voices(self) -> Mapping[str, VoiceCard]:
        """Its voices by name."""
        ...

    @property
    def controls(self) -> frozenset[str]:
        """The fields of a `Delivery` that it follows; of others nothing is asked."""
        ...

    def speak(self, speech: Speech) -> Samples:
        """Say it, at SAMPLE_RATE. Raises `UnspeakableError` where nothing of the text can be said."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class UnspeakableError(ValueError):
    """A text of which an engine can say nothing, or not all in one piece; it costs the row, not the run."""


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """What a voice backend needs to start. Which fields matter is up to the backend; see its module."""

    name: str
    revision: str = ""
    weights: PurePath | None = None
    """A local file or folder with the model."""
    voices: PurePath | None = None
    """A local file or folder with the voices of the model, where they are apart from it."""
    licence: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    """Passed to the engine as it is."""
    references: Mapping[str, ReferenceVoice] = field(default_factory=dict)
    """Voices given by recordings, for engines that speak as a recording does."""


def check_voice(name: str, voices: Mapping[str, VoiceCard]) -> VoiceCard:
    """Find a voice's card, or raise `InputError` with the names that are like it."""
    if name in voices:
        return voices[name]
    closest = difflib.get_close_matches(name, voices, n=3)
    guess = f"Did you mean {' or '.join(closest)}? " if closest else ""
    raise InputError(f"the voice {name!r} is unknown", next_step=f"{guess}Known: {', '.join(sorted(voices))}.")


def check_script(text: str) -> None:
    """Raise `UnspeakableError` for a letter that is not Latin: engines drop such words without a word about it."""
    for letter in unicodedata.normalize("NFKC", text):
        if letter.isalpha() and not unicodedata.name(letter, "").startswith(("LATIN", "MODIFIER")):
            raise UnspeakableError(f"{letter!r} is of a script that this voice does not read")
