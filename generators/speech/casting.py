# SPDX-License-Identifier: Apache-2.0
"""Who speaks with which voice: one voice for a character, and every voice for every label.

A recogniser that is trained on clips learns the voice where a label is said by few of them. So characters are dealt
out so that labels spread over the voices as evenly as they can while each character keeps one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from generators.shares import stable_hash

Speaker = tuple[str, str]
"""The story or dialogue that a speaker belongs to, and their name there."""


@dataclass(frozen=True, slots=True)
class Part:
    """All that one speaker says: how many clips of each label, and who else must sound different."""

    speaker: Speaker
    labels: Mapping[str, int]
    beside: tuple[Speaker, ...] = field(default=())


def cast(
    parts: Sequence[Part], voices: Sequence[str], *, seed: int, before: Mapping[Speaker, str] | None = None
) -> dict[Speaker, str]:
    """Give each speaker a voice; those cast `before` keep theirs, and the result does not depend on the order of parts.

    The speaker with most to say is dealt first, to the voice that has said the least of the same labels (least sum of
    squares of clips a voice and label). Two who talk to each other get different voices, as far as there are two.
    """
    if not voices:
        raise ValueError("nobody can be cast without voices")
    given: dict[Speaker, str] = dict(before or {})
    said: dict[str, Counter[str]] = {voice: Counter() for voice in voices}
    for part in parts:
        if given.get(part.speaker) in said:
            said[given[part.speaker]].update(part.labels)
    order = sorted(
        (part for part in parts if part.speaker not in given),
        key=lambda part: (-sum(part.labels.values()), stable_hash(seed, "cast", *part.speaker)),
    )
    for part in order:
        taken = {given[other] for other in part.beside if other in given}
        free = [voice for voice in voices if voice not in taken] or list(voices)
        best = min(free, key=lambda voice: _cost(said[voice], part, stable_hash(seed, voice, *part.speaker)))
        given[part.speaker] = best
        said[best].update(part.labels)
    return given


def _cost(said: Counter[str], part: Part, salt: int) -> tuple[int, int, int]:
    """What the squares grow by, then how much the voice has to say at all, then chance."""
    growth = sum((said[label] + count) ** 2 - said[label] ** 2 for label, count in part.labels.items())
    return growth, said.total(), salt
