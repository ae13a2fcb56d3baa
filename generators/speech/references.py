# SPDX-License-Identifier: Apache-2.0
"""Reference clips: recordings of a voice in some feelings, for engines that speak as a clip does."""

from collections.abc import Mapping, Sequence

from validators.taxonomy import builtin_taxonomy

NEUTRAL = "neutral"


def nearest_clips(clips: Mapping[str, Sequence[str]], feeling: str) -> tuple[str, ...]:
    """The clips of a voice for a feeling, a canonical label or "" for none.

    Where there are none of it, those of the feeling that lies nearest by valence and arousal: a voice is rarely
    recorded in forty feelings, and a wrong neighbour is still nearer than neutral.
    """
    places = {label.name: (label.valence, label.arousal) for label in builtin_taxonomy("canonical").labels}
    wanted = feeling or NEUTRAL
    if wanted in clips:
        return tuple(clips[wanted])
    if wanted not in places:
        return nearest_clips(clips, "") if wanted != NEUTRAL and NEUTRAL in clips else tuple(next(iter(clips.values())))
    valence, arousal = places[wanted]

    def distance(name: str) -> float:
        other = places.get(name, places[NEUTRAL])
        return (other[0] - valence) ** 2 + (other[1] - arousal) ** 2

    return tuple(clips[min(clips, key=distance)])
