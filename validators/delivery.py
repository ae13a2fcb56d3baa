# SPDX-License-Identifier: Apache-2.0
"""How far a take is from the delivery that was asked for, in differences that a listener can just notice."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from validators.prosody import spoken_s
from validators.speech_records import Delivery, Prosody

DIMENSIONS = ("pitch", "range", "rate", "loudness", "tilt")

Differences = dict[str, float]
"""By dimension: pitch and range (semitones), rate (octaves), loudness and tilt (dB)."""

LOUDNESS_DB_PER_ENERGY = 0.4
"""What 1 of `Delivery.energy` does to the loudness of Kokoro: +0.4, +0.5, -0.3 and -0.6 dB for 1.2 up and down in two
voices. It moves the spectrum within vowels and leaves the tilt as it is (0.2 dB at most), so loudness is asked by
`gain_db`."""

TILT_SEEN = 0.5
"""Share of a shelf above 1.5 kHz that the alpha ratio shows: 0.4 to 0.8 on Kokoro's takes, for -7 to +7 dB."""


@dataclass(frozen=True, slots=True)
class Noticeable:
    """The just noticeable differences by dimension, and their sources.

    Measured JNDs are those of listeners who compare two takes; of pitch and range they lie far above those of pure
    tones, since pitch moves all the time in speech.
    """

    pitch: float = 1.0
    """Semitones between means. A steady vowel needs 0.04 (Klatt, JASA 53, 1973), two moves of speech 1.5 to 2
    ('t Hart, JASA 69, 1981); the mean of a sentence lies between them."""
    range: float = 1.5
    """Semitones between sizes of pitch moves ('t Hart 1981)."""
    rate: float = math.log2(1.05)
    """Octaves: 5 % (Quené, Journal of Phonetics 35, 2007)."""
    loudness: float = 1.0
    """dB, for sounds of a middle level (Fastl and Zwicker, Psychoacoustics, 2007, section 7.1)."""
    tilt: float = 1.5
    """dB of the alpha ratio. An assumption: no listening test of this measure is known to us."""


@dataclass(frozen=True, slots=True)
class Strong:
    """From which difference on a dimension counts as asked for strongly.

    Below, the engine's own variation from take to take may turn it over without a listener who notices. Range and tilt
    follow the words too much to be held against one neutral take.
    """

    pitch: float = 1.0
    """Semitones: once what is noticed."""
    rate: float = 2 * math.log2(1.05)
    """Octaves, about 10 %: twice, since pauses around 150 ms move in and out of the count."""
    loudness: float = 2.0
    """dB: twice, since raised pitch and tilt move it as well."""


NOTICEABLE = Noticeable()
STRONG = Strong()


def asked_differences(delivery: Delivery, neutral: Prosody) -> Differences:
    """Differences from the neutral take that a delivery asks for.

    The tilt asked for is a shelf above 1.5 kHz, of which the alpha ratio (above 1 kHz) sees the share
    TILT_SEEN.
    """
    return {
        "pitch": delivery.pitch_st,
        "range": neutral.f0_range_st * (2**delivery.range_oct - 1),
        "rate": delivery.rate_oct,
        "loudness": delivery.gain_db + LOUDNESS_DB_PER_ENERGY * delivery.energy,
        "tilt": TILT_SEEN * delivery.tilt_db,
    }


def measured_differences(measured: Prosody, neutral: Prosody) -> Differences:
    """Differences of a take from the neutral take of the same text; a dimension that cannot be compared is left out.

    The rate is that of the time spoken, since the text is the same; see `validators.prosody.spoken_s`.
    """
    found: Differences = {}
    if measured.f0_mean_hz > 0 and neutral.f0_mean_hz > 0:
        found["pitch"] = 12 * math.log2(measured.f0_mean_hz / neutral.f0_mean_hz)
        found["range"] = measured.f0_range_st - neutral.f0_range_st
    if spoken_s(measured) > 0 and spoken_s(neutral) > 0:
        found["rate"] = math.log2(spoken_s(neutral) / spoken_s(measured))
        found["loudness"] = measured.loudness_db - neutral.loudness_db
        found["tilt"] = measured.tilt_db - neutral.tilt_db
    return found


def differences_of(row: Mapping[Any, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """The differences from neutral that a clip was asked for, and those that were measured, by dimension."""
    delivery, neutral = Delivery(**row["delivery"]), Prosody(**row["neutral"])
    return asked_differences(delivery, neutral), measured_differences(Prosody(**row["measured"]), neutral)


def delivery_distance(delivery: Delivery, measured: Prosody, neutral: Prosody) -> float:
    """Find how far a take is from what was asked, in just noticeable differences; 0 is what was asked.

    The root of the mean square over the dimensions, so that one dimension that is far off weighs more than several
    that are a little off. A take of which nothing can be measured is infinitely far.
    """
    asked = asked_differences(delivery, neutral)
    found = measured_differences(measured, neutral)
    if not found:
        return math.inf
    steps = [(found[name] - asked[name]) / getattr(NOTICEABLE, name) for name in found]
    return math.sqrt(sum(step * step for step in steps) / len(steps))


def wrong_sides(delivery: Delivery, measured: Prosody, neutral: Prosody, *, strong: Strong = STRONG) -> Differences:
    """Find the dimensions asked for strongly in which a take went the other way, or nowhere, and how far."""
    asked = asked_differences(delivery, neutral)
    found = measured_differences(measured, neutral)
    return {
        name: found[name]
        for name, least in asdict(strong).items()
        if name in found and abs(asked[name]) >= least and found[name] * math.copysign(1.0, asked[name]) <= 0
    }
