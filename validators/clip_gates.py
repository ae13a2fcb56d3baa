# SPDX-License-Identifier: Apache-2.0
"""Gates for clips: each a small function that accepts a take or rejects it with a reason of its own.

`judge_sound` needs the samples alone and spares the listener what nobody can listen to; `judge_take` needs what the
listener heard. Add a gate: write a function that returns a `Verdict` with a reason that is not taken, and name it in
one of the two.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validators.delivery import STRONG, Strong, wrong_sides
from validators.prosody import HOP_S, active_frames, frame_levels, spoken_s
from validators.roles import Heard
from validators.speech_records import Delivery, Prosody
from validators.transcripts import UNSPACED, spoken_words, word_error_rate
from validators.verdicts import ACCEPTED, Verdict


@dataclass(frozen=True, slots=True)
class ClipBounds:
    """The limits of the clip gates, as the recipe gives them."""

    max_clipped_share: float = 0.001
    """Of the samples at full scale: a few peaks are not heard, a thousandth is 24 ms of distortion a second."""
    min_active_s: float = 0.15
    """Of sound in all: the shortest word ("no") lasts about 0.2 s."""
    max_end_silence_s: float = 1.0
    """Before the first and after the last sound: an engine that pads or stalls; half a second is usual."""
    min_word_s: float = 0.1
    """Of speech to a word: 600 words a minute, twice the fastest speakers, so words are missing."""
    max_word_s: float = 1.0
    """Of speech to a word: 60 words a minute, half the slowest readers, so something is repeated or drawn out."""
    max_extra_s: float = 0.5
    """Granted once to every clip: a single word is drawn out more than a word among others."""
    max_wer: float = 0.25
    """Inclusive, so one word of four may be heard wrong: names and homophones are the listener's mistakes."""
    min_dnsmos: float = 3.0
    """Of 5 (P.835, overall): neutral takes of Kokoro's English voices measure 3.1 and more, the whisperer's less; 7 dB
    of tilt with a raised voice costs 0.2 to 0.4, so that strong anger comes near it."""
    min_speaker_similarity: float = 0.80
    """Cosine to the voice's neutral. Takes of one voice measure .93 and more whatever the emotion; of 54 voices
    against each other, 95 % lie below .69."""
    strong: Strong = STRONG
    """What counts as asked for strongly, by dimension."""


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """One rendering of a text with all that its gates look at; prosody and delivery are against the same neutral.

    `neutral` is the same text by the same voice without delivery, `speaker` the embedding of the voice's neutral.
    """

    text: str
    language: str
    heard: Heard
    measured: Prosody
    neutral: Prosody
    speaker: NDArray[np.float32]
    delivery: Delivery


def judge_sound(samples: NDArray[Any], sample_rate: int, bounds: ClipBounds) -> Verdict:
    """Judge samples of shape (n,) before anybody listens; the first gate that rejects decides."""
    for gate in (is_finite, lambda sound: not_clipped(sound, bounds=bounds)):
        verdict = gate(samples)
        if not verdict.accepted:
            return verdict
    return not_silent(samples, sample_rate, bounds=bounds)


def judge_take(take: Take, bounds: ClipBounds) -> Verdict:
    """Judge what was heard; the first gate that rejects decides, the plainest faults first."""
    for gate in (right_duration, right_words, good_sound, same_speaker, right_side):
        verdict = gate(take, bounds)
        if not verdict.accepted:
            return verdict
    return ACCEPTED


def is_finite(samples: NDArray[Any]) -> Verdict:
    """Reject a clip without samples, or with one that is no number."""
    if not samples.size:
        return Verdict.reject("empty_sound", "no samples")
    broken = int(np.count_nonzero(~np.isfinite(samples)))
    return Verdict.reject("not_finite", f"{broken} of {samples.size} samples") if broken else ACCEPTED


def not_clipped(samples: NDArray[Any], *, bounds: ClipBounds) -> Verdict:
    """Reject a clip whose waves are cut at full scale (16-bit sound has its own full scale at 0.99997).

    A single sample beyond it is enough: no file of whole numbers holds it.
    """
    if (loudest := float(np.abs(samples).max(initial=0.0))) > 1:
        return Verdict.reject("clipped", f"a sample of {loudest:.3g}, beyond full scale")
    share = float(np.mean(np.abs(samples) >= 0.9999))
    if share > bounds.max_clipped_share:
        return Verdict.reject("clipped", f"{share:.2%} of the samples at full scale > {bounds.max_clipped_share:.2%}")
    return ACCEPTED


def not_silent(samples: NDArray[Any], sample_rate: int, *, bounds: ClipBounds) -> Verdict:
    """Reject a clip with hardly a sound, or with a long silence at either end."""
    active = np.flatnonzero(active_frames(frame_levels(samples, sample_rate)))
    active_s = len(active) * HOP_S
    if active_s < bounds.min_active_s:
        return Verdict.reject("silent", f"{active_s:.2f} s of sound < {bounds.min_active_s:.2f} s")
    before_s = float(active[0]) * HOP_S
    after_s = len(samples) / sample_rate - (float(active[-1]) + 1) * HOP_S
    if max(before_s, after_s) > bounds.max_end_silence_s:
        return Verdict.reject("silent_end", f"{before_s:.2f} s before, {after_s:.2f} s after")
    return ACCEPTED


def right_duration(take: Take, bounds: ClipBounds) -> Verdict:
    """Reject a take that is too short or too long for its words at the rate that was asked for."""
    words = spoken_words(take.text, language=take.language)
    # two characters make about a word where a language has no spaces
    n_words = math.ceil(len(words) / 2) if take.language in UNSPACED else len(words)
    stretch = 2**-take.delivery.rate_oct
    shortest_s = n_words * bounds.min_word_s * stretch
    longest_s = (n_words * bounds.max_word_s + bounds.max_extra_s) * stretch
    said_s = spoken_s(take.measured)
    if said_s < shortest_s:
        return Verdict.reject("too_fast", f"{said_s:.2f} s for {n_words} words < {shortest_s:.2f} s")
    if take.measured.duration_s > longest_s:  # with its pauses: an engine that stalls within a sentence
        return Verdict.reject("too_slow", f"{take.measured.duration_s:.2f} s for {n_words} words > {longest_s:.2f} s")
    return ACCEPTED


def right_words(take: Take, bounds: ClipBounds) -> Verdict:
    """Reject a take in which other words are heard than those of the text."""
    rate = word_error_rate(take.text, take.heard.transcript, language=take.language)
    if rate > bounds.max_wer:
        return Verdict.reject("word_error", f"{rate:.2f} > {bounds.max_wer:.2f}: {take.heard.transcript}")
    return ACCEPTED


def good_sound(take: Take, bounds: ClipBounds) -> Verdict:
    """Reject a take that sounds poor (DNSMOS P.835, overall: Reddy, Gopal and Cutler, ICASSP 2022)."""
    if not take.heard.dnsmos >= bounds.min_dnsmos:  # so that NaN is rejected too
        return Verdict.reject("poor_sound", f"DNSMOS {take.heard.dnsmos:.2f} < {bounds.min_dnsmos:.2f}")
    return ACCEPTED


def same_speaker(take: Take, bounds: ClipBounds) -> Verdict:
    """Reject a take that sounds like somebody else than the voice's neutral."""
    similarity = speaker_similarity(take.heard.speaker, take.speaker)
    if not similarity >= bounds.min_speaker_similarity:
        return Verdict.reject("other_speaker", f"cosine {similarity:.2f} < {bounds.min_speaker_similarity:.2f}")
    return ACCEPTED


def right_side(take: Take, bounds: ClipBounds) -> Verdict:
    """Reject a take that went the other way in what was asked for strongly: pitch, rate or loudness.

    It says nothing about the emotion: a take on the right side may still sound neutral, one on the wrong side cannot
    be what was asked.
    """
    wrong = wrong_sides(take.delivery, take.measured, take.neutral, strong=bounds.strong)
    found = ", ".join(f"{name} {difference:+.2f}" for name, difference in wrong.items())
    return Verdict.reject("wrong_side", f"{found} against the neutral take") if wrong else ACCEPTED


def speaker_similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Cosine of two speaker embeddings of length 1, within -1 to 1; see `Heard.speaker`."""
    return float(np.clip(np.dot(one.astype(np.float64), other.astype(np.float64)), -1.0, 1.0))
