# SPDX-License-Identifier: Apache-2.0
"""The test double of a voice: a buzz for each syllable that follows the text's length and the delivery measurably."""

import hashlib
import re
import signal
import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from generators.backends.sound import finish
from generators.speech.voices import (
    ALL_CONTROLS,
    SAMPLE_RATE,
    Samples,
    Speech,
    UnspeakableError,
    Voice,
    VoiceSettings,
    check_script,
    check_voice,
)
from validators.errors import InputError, ModelError
from validators.speech_records import Delivery, Gender, VoiceCard

PITCH_HZ: Mapping[str, float] = {"tone_low": 110.0, "tone_mid": 140.0, "tone_warm": 185.0, "tone_high": 220.0}
GENDERS: Mapping[str, Gender] = {"tone_low": "male", "tone_mid": "male", "tone_warm": "female", "tone_high": "female"}
SYLLABLE_S, GAP_S, PAUSE_S = 0.16, 0.04, 0.25  # five syllables a second, as in speech
ACCENT_ST = 3.0  # syllables lie within this distance of the voice's pitch
LEVEL = 0.12  # leaves room for 18 dB of gain without a change of the peak
HIGHEST_HZ = 6000
MAX_WORDS = 120
FAULTS = ("fail_on", "hang_on", "crash_on")

_WORD_OR_PAUSE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[.,;:!?…—]")
_VOWELS = re.compile(r"[aeiouy]+")


def open_voice(settings: VoiceSettings) -> Voice:
    """Start the double; it needs no weights.

    Options: `fail_on`, `hang_on` and `crash_on`, words at which it does what broken engines do.
    """
    if unknown := set(settings.options) - set(FAULTS):
        what = f"the tone voice has no option {', '.join(sorted(unknown))}"
        raise InputError(what, next_step=f"Known: {', '.join(FAULTS)}.")
    return ToneVoice(settings.name, faults={str(word).casefold(): what for what, word in settings.options.items()})


class ToneVoice:
    """Four voices that differ in pitch; the same words always have the same tune."""

    controls = ALL_CONTROLS

    def __init__(self, name: str = "tone", *, faults: Mapping[str, str] | None = None) -> None:
        self.model = name
        self.voices: Mapping[str, VoiceCard] = {
            voice: VoiceCard(name=voice, language="en", gender=gender, licence="Apache-2.0")
            for voice, gender in GENDERS.items()
        }
        self._faults = faults or {}

    def speak(self, speech: Speech) -> Samples:
        """Hum it, one buzz a syllable. Raises `UnspeakableError` as an engine would: no, foreign or too many words."""
        check_voice(speech.voice, self.voices)
        check_script(speech.text)
        pieces = _WORD_OR_PAUSE.findall(speech.text.casefold())
        words = [piece for piece in pieces if piece[0].isalnum()]
        if not words:
            raise UnspeakableError(f"no word to say in {speech.text!r}")
        if len(words) > MAX_WORDS:
            raise UnspeakableError(f"{len(words)} words are too many for one piece, at most {MAX_WORDS}")
        for word in words:
            if word in self._faults:
                self._break(self._faults[word], speech.text)
        delivery = speech.delivery
        pitches = _tune(words, PITCH_HZ[speech.voice], delivery)
        sounds: list[NDArray[np.float64]] = []
        for piece in pieces:
            if piece[0].isalnum():
                sounds += [_syllable(pitches.pop(0), delivery) for _ in range(_syllables(piece))]
            else:
                sounds.append(np.zeros(_samples(PAUSE_S * 2**delivery.pause_oct)))
        return finish(np.concatenate(sounds).astype(np.float32), delivery)

    def _break(self, fault: str, text: str) -> None:
        if fault == "hang_on":
            threading.Event().wait()
        if fault == "crash_on":
            signal.raise_signal(signal.SIGKILL)
        raise ModelError(f"{self.model} failed, as asked", where=text)

    def close(self) -> None:
        """Nothing is held."""


def _tune(words: list[str], pitch_hz: float, delivery: Delivery) -> list[float]:
    """One F0 (Hz) a syllable, whose mean in semitones is the pitch asked for."""
    heights = np.array([_height(word, place) for word in words for place in range(_syllables(word))])
    semitones = (heights - heights.mean()) * 2**delivery.range_oct + delivery.pitch_st
    return [float(hz) for hz in pitch_hz * 2 ** (semitones / 12)]


def _height(word: str, place: int) -> float:
    digest = hashlib.blake2b(f"{word}/{place}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) / 2**64 * 2 - 1) * ACCENT_ST


def _syllables(word: str) -> int:
    return max(1, len(_VOWELS.findall(word)))


def _syllable(f0_hz: float, delivery: Delivery) -> NDArray[np.float64]:
    """A buzz with a soft beginning and end, and the gap after it; breath turns harmonics into noise."""
    slower = 2**-delivery.rate_oct
    length = _samples(SYLLABLE_S * slower)
    phase = 2 * np.pi * f0_hz * np.arange(length) / SAMPLE_RATE
    breath = delivery.breath
    hiss = np.random.default_rng(length).uniform(-1, 1, length)  # always the same
    hiss[1:] -= 0.5 * hiss[:-1]
    sound = np.sqrt(1 - breath / 2) * _buzz(phase, int(HIGHEST_HZ / f0_hz)) + breath * hiss
    sound *= np.hanning(length) * LEVEL * np.exp(delivery.energy / 2)  # energy is of power, the sound of amplitude
    return np.concatenate([sound, np.zeros(_samples(GAP_S * slower))])


def _buzz(phase: NDArray[np.float64], harmonics: int) -> NDArray[np.float64]:
    """Sum sin(k phase) / k, each sine from the two before it (Chebyshev), which is far cheaper than a sine."""
    twice_cos, before, sine = 2 * np.cos(phase), np.zeros_like(phase), np.sin(phase)
    buzz = np.zeros_like(phase)
    for harmonic in range(1, harmonics + 1):
        buzz += sine / harmonic
        before, sine = sine, twice_cos * sine - before
    return buzz


def _samples(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE))
