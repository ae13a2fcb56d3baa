# SPDX-License-Identifier: Apache-2.0
"""What the clips of a run are like: how many passed, how they sound, and whether they differ as they were asked to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from validators.agreement import rate_of
from validators.clip_contrasts import clip_contrasts
from validators.delivery import DIMENSIONS, differences_of
from validators.speech_records import PlannedClip
from validators.taxonomy import Label

GOOD_DNSMOS = 3.0
SAME_SPEAKER = 0.8
AROUSAL = ("pitch", "rate", "loudness")
"""What arousal is heard by first: F0, tempo and loudness (Scherer 2003, table 2)."""


def clip_quality(
    planned: Sequence[PlannedClip], kept: pd.DataFrame, rejected: pd.DataFrame, labels: Mapping[str, Label]
) -> dict[str, Any]:
    """Figures of the clips: rates with Wilson intervals, medians, correlations of asked with measured, contrasts."""
    rows = kept.to_dict("records")
    heard = [row for row in rows if row.get("realised") in {True, False}]
    by_voice = {
        voice: rate_of(len(kept[kept["voice"] == voice]) if len(kept) else 0, n)
        for voice, n in sorted(_counts(row.voice for row in planned).items())
    }
    return {
        "rows": {"planned": len(planned), "kept": len(kept), "rejected": len(rejected)},
        "keep_rate": rate_of(len(kept), len(planned)),
        "keep_rate_by_voice": by_voice,
        "passed_at_first": rate_of(sum(bool(row["passed_at_first"]) for row in rows), len(planned)),
        "takes": float(np.mean([row["attempts"] for row in rows])) if rows else None,
        "seconds": float(sum(row["n_samples"] / row["sample_rate"] for row in rows)),
        "wer": _distribution([row["wer"] for row in rows], share_of=lambda value: value == 0),
        "dnsmos": _distribution([row["dnsmos"] for row in rows], share_of=lambda value: value >= GOOD_DNSMOS),
        "speaker_similarity": _distribution(
            [row["speaker_similarity"] for row in rows], share_of=lambda value: value >= SAME_SPEAKER
        ),
        "distance": _distribution([row["distance"] for row in rows], share_of=lambda value: value <= 1),
        "realised": rate_of(sum(row["realised"] is True for row in heard), len(heard)) if heard else None,
        "asked_and_measured": _correlations(rows),
        "contrasts": clip_contrasts(rows, labels),
        "by_label": {
            label: _label_figures([row for row in rows if row["intended"]["label"] == label])
            for label in sorted({row["intended"]["label"] for row in rows})
        },
    }


def _correlations(rows: Sequence[Mapping[Any, Any]]) -> dict[str, float | None]:
    """Pearson's correlation of asked with measured differences over clips, by dimension and for arousal.

    Arousal is the mean of pitch, rate and loudness, each in standard deviations of the measured differences.
    """
    pairs = [differences_of(row) for row in rows]
    table = {
        name: np.array([(asked[name], found[name]) for asked, found in pairs if name in found]) for name in DIMENSIONS
    }
    figures = {name: _pearson(values) for name, values in table.items()}
    whole = [(asked, found) for asked, found in pairs if all(name in found for name in AROUSAL)]
    spread = {name: float(np.std([found[name] for _, found in whole])) or 1.0 for name in AROUSAL} if whole else {}
    figures["arousal"] = _pearson(
        np.array(
            [[sum(side[name] / spread[name] for name in AROUSAL) / len(AROUSAL) for side in pair] for pair in whole]
        )
    )
    return figures


def _pearson(pairs: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Correlation of two columns; None where there are too few or one is constant."""
    if len(pairs) < 3 or not pairs.std(axis=0).all():
        return None
    return round(float(np.corrcoef(pairs.T)[0, 1]), 4)


def _label_figures(rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """Mean measured differences from neutral of one label's clips, by intensity."""
    figures: dict[str, Any] = {"rows": len(rows)}
    for intensity in sorted({row["intended"]["intensity"] for row in rows if row["intended"]["intensity"]}):
        found = [differences_of(row)[1] for row in rows if row["intended"]["intensity"] == intensity]
        figures[str(intensity)] = {
            name: round(float(np.mean([one[name] for one in found if name in one])), 3)
            for name in DIMENSIONS
            if any(name in one for one in found)
        }
    return figures


def _distribution(values: Sequence[float], *, share_of: Any) -> dict[str, Any] | None:
    if not values:
        return None
    return {
        "median": round(float(np.median(values)), 4),
        "low": round(float(np.quantile(values, 0.05)), 4),
        "high": round(float(np.quantile(values, 0.95)), 4),
        "good": rate_of(sum(bool(share_of(value)) for value in values), len(values)),
    }


def _counts(values: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
