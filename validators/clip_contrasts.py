# SPDX-License-Identifier: Apache-2.0
"""Whether clips differ as their labels ask: strong from mild, and one feeling from another on voices not fitted on.

All of it on what was measured of the sound, as differences from the same text and voice without a delivery, in just
noticeable ones. It tells that the feelings are kept apart in the sound, not that a person hears them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validators.agreement import rate_of
from validators.delivery import DIMENSIONS, NOTICEABLE, Differences, differences_of
from validators.taxonomy import Label

MIDDLE_AROUSAL = 0.5  # of a scale from 0 to 1
PAIRS = (("elation", "anger"), ("sadness", "contentment"))
"""Canonical labels of like arousal that only valence tells apart: joy from anger, sadness from calm."""

Row = Mapping[Any, Any]


def clip_contrasts(rows: Sequence[Row], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Measure contrasts among kept clips, given as rows of their table; None where there are too few of a kind.

    The tests are nearest centroids, fitted on all voices but one and tried on that one, voice after voice; their
    accuracy is balanced, so that guessing gives 1 / the number of classes.
    """
    felt = [row for row in rows if row["intended"]["intensity"] is not None]
    places = [labels[row["intended"]["label"]] for row in felt]
    quadrants = [_quadrant(label) for label in places]
    figures: dict[str, Any] = {
        "strong_further_than_mild": strong_further(felt),
        "quadrants": told_apart(felt, quadrants),
    }
    for aroused in ("high", "low"):
        of = [number for number, name in enumerate(quadrants) if name.startswith(aroused)]
        figures[f"valence_at_{aroused}_arousal"] = told_apart([felt[n] for n in of], [quadrants[n] for n in of])
    for pair in PAIRS:
        known = [(row, label.canonical or label.name) for row, label in zip(felt, places, strict=True)]
        of_pair = [(row, name) for row, name in known if name in pair]
        figures[" and ".join(pair)] = told_apart([row for row, _ in of_pair], [name for _, name in of_pair])
    return figures


def strong_further(rows: Sequence[Row]) -> dict[str, Any] | None:
    """How often the strong clip of a text, voice and label lies further in the asked direction than the mild one."""
    by_text: defaultdict[tuple[Any, ...], dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]] = defaultdict(
        dict
    )
    for row in rows:
        asked, found = differences_of(row)
        if len(found) == len(DIMENSIONS):
            key = row["text"], row["voice"], row["intended"]["label"]
            by_text[key][row["intended"]["intensity"]] = _steps(asked), _steps(found)
    pairs = [found for found in by_text.values() if set(found) == {1, 2}]
    if not pairs:
        return None
    return rate_of(sum(bool(found[2][1] @ found[2][0] > found[1][1] @ found[2][0]) for found in pairs), len(pairs))


def told_apart(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any] | None:
    """How well a nearest-centroid test tells the classes of clips apart on voices that it was not fitted on."""
    whole = [
        (_steps(found), name, row["voice"])
        for row, name in zip(rows, classes, strict=True)
        if len(found := differences_of(row)[1]) == len(DIMENSIONS)
    ]
    voices_of = defaultdict(set)
    for _, name, voice in whole:
        voices_of[name].add(voice)
    # each class must be left when any one voice is taken away
    if len(voices_of) < 2 or min(len(voices) for voices in voices_of.values()) < 2:
        return None
    features, truth = np.stack([steps for steps, _, _ in whole]), np.array([name for _, name, _ in whole])
    voices, names = np.array([voice for _, _, voice in whole]), sorted(voices_of)
    heard = np.empty_like(truth)
    for voice in sorted(set(voices.tolist())):
        others = voices != voice
        centroids = np.stack([features[others & (truth == name)].mean(axis=0) for name in names])
        distances = np.linalg.norm(features[~others, None] - centroids[None], axis=-1)
        heard[~others] = np.array(names)[distances.argmin(axis=1)]
    confused: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, as_what in zip(truth.tolist(), heard.tolist(), strict=True):
        confused[name][as_what] += 1
    return {
        "clips": len(whole),
        "balanced_accuracy": round(float(np.mean([(heard[truth == name] == name).mean() for name in names])), 4),
        "chance": round(1 / len(voices_of), 4),
        "heard_as": {name: dict(sorted(counts.items())) for name, counts in sorted(confused.items())},
    }


def _quadrant(label: Label) -> str:
    """The quadrant of valence and arousal (Russell 1980) that a label lies in."""
    aroused = "high" if label.arousal >= MIDDLE_AROUSAL else "low"
    return f"{aroused} arousal, {'positive' if label.valence >= 0 else 'negative'}"


def _steps(differences: Differences) -> NDArray[np.float64]:
    """Differences in just noticeable ones."""
    return np.array([differences[name] / getattr(NOTICEABLE, name) for name in DIMENSIONS])
