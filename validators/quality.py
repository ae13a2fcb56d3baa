# SPDX-License-Identifier: Apache-2.0
"""The figures of a release: how many rows, how often the intention was heard, how much the texts differ."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from validators.agreement import confusion_table, rate_of
from validators.cosines import Vectors
from validators.diversity import diversity
from validators.errors import InputError
from validators.roles import Encoder
from validators.tables import yield_table

READINGS = ("perceived", "perceived_in_context", "perceived_ambiguous", "perceived_ambiguous_in_context")
WHERE = "figures of a release"

Scores = dict[str, float]
"""Label -> score of one reading; a label that it leaves out scored next to nothing and counts as 0."""


def quality(
    utterances: pd.DataFrame,
    rejected: pd.DataFrame,
    labels: Sequence[str],
    *,
    planned: pd.DataFrame | None = None,
    neutral: str | None = None,
    encoder: Encoder | None = None,
    vectors: Vectors | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Gather the figures of a release as plain JSON, None where one is undefined.

    `utterances` and `rejected` are tables as in schemas.py, `labels` those of the taxonomy in its order. `planned` has
    `intended` or intended_label; without it the kept and the rejected rows are what was planned. `encoder` or `vectors`
    (one unit row for each utterance) serve the diversity, `seed` its samples.

    verified            whether a reader judged any row; if not, all rates are None
    readers             their models
    rows                planned, kept and rejected
    realised_at_first   how often the first candidate that passed the rules was heard as intended
    realised            how often the final one was
    per_label           the last three for each label
    confusion           rows by intended label, and below by the label that the reader ranks first: the kept ones, and
                        those that fell because no candidate was heard as intended, by the best of them
    nothing_perceived   kept rows that were read without any label found; they are not in the confusion
    contextual          see `_contextual`
    diversity           see diversity.py

    The two rates are over the kept rows that were judged and the rows rejected because no candidate was heard as
    intended, with 95 % Wilson intervals. Rows lost otherwise (to the rules before any reading, to duplicates) are in
    neither. Raises InputError where a column is lacking, a label unknown or a score no probability.
    """
    intended = _intended(utterances)
    rejected = rejected[[bool(label) for label in _column(rejected, "label")]]  # evidence fails before it has a label
    lost = _column(rejected, "label")
    if unknown := sorted({*intended, *lost, *(_intended(planned) if planned is not None else ())} - set(labels)):
        raise InputError(f"labels outside the taxonomy: {', '.join(map(repr, unknown))}", where=WHERE)
    if planned is None:
        planned = pd.DataFrame({"intended_label": [*intended, *lost]}, dtype=object)
    counts = yield_table(planned, utterances, rejected).set_index("label")[["planned", "kept", "rejected"]]
    judged = {name: _judged(utterances, intended, rejected, name) for name in ("realised_at_first", "realised")}
    first_reading = _readings(utterances, "perceived")
    heard = [(label, next(iter(scores))) for label, scores in zip(intended, first_reading, strict=True) if scores]
    heard += [pair for pair in zip(lost, _column(rejected, "heard", optional=True), strict=True) if pair[1]]
    return {
        "verified": any(judged.values()),
        "readers": sorted({str(reader) for reader in _column(utterances, "reader", optional=True) if _is_set(reader)}),
        "rows": {name: int(counts[name].sum()) for name in counts},
        **{name: _rate(found for _, found in rows) for name, rows in judged.items()},
        "per_label": {
            label: {name: int(counts[name].get(label, 0)) for name in counts}
            | {name: _rate(found for other, found in rows if other == label) for name, rows in judged.items()}
            for label in labels
        },
        "confusion": _confusion(heard, labels) if heard else None,
        "nothing_perceived": sum(scores == {} for scores in first_reading),
        "contextual": _contextual(utterances, intended),
        "diversity": diversity(
            [str(text) for text in _column(utterances, "text")],
            intended,
            list(zip(_column(utterances, "story_id"), _column(utterances, "character"), strict=True)),
            neutral=neutral,
            encoder=encoder,
            vectors=vectors,
            seed=seed,
        ).as_json(),
    }


def _judged(
    utterances: pd.DataFrame, intended: Sequence[str], rejected: pd.DataFrame, name: str
) -> list[tuple[str, bool]]:
    """Intended label and verdict of the reader, for each row that a reader judged."""
    verdicts = zip(intended, _column(utterances, name, optional=True), strict=True)
    keys = zip(*(_column(rejected, key) for key in ("label", "gate", "reason")), strict=True)
    missed = [(label, False) for label, gate, reason in keys if (gate, reason) == ("reader", "not_realised")]
    return [(label, bool(found)) for label, found in verdicts if _is_set(found)] + missed


def _rate(verdicts: Iterable[bool]) -> dict[str, float] | None:
    """How many of how many, the rate and its 95 % Wilson interval; None without rows."""
    counts = Counter(verdicts)
    return rate_of(counts[True], counts.total())


def _contextual(utterances: pd.DataFrame, intended: Sequence[str]) -> dict[str, Any]:
    """Whether the rewritten texts need their context.

    rows                 rows with a rewritten text
    less_certain_alone   how often the intended label scores lower in the rewritten text alone than after its context
    mean_score           mean score of the intended label in each of the four readings: the original and the rewritten
                         text, each alone and after the context
    """
    contextual = [_is_set(text) for text in _column(utterances, "text_ambiguous", optional=True)]
    scores = {
        name: [
            None if reading is None else reading.get(label, 0.0)
            for label, reading, wanted in zip(intended, _readings(utterances, name), contextual, strict=True)
            if wanted
        ]
        for name in READINGS
    }
    alone, in_context = (scores[name] for name in ("perceived_ambiguous", "perceived_ambiguous_in_context"))
    pairs = [
        (one, other) for one, other in zip(alone, in_context, strict=True) if one is not None and other is not None
    ]
    known = {name: [score for score in of_rows if score is not None] for name, of_rows in scores.items()}
    return {
        "rows": sum(contextual),
        "less_certain_alone": _rate(one < other for one, other in pairs),
        "mean_score": {name: float(np.mean(of_rows)) if of_rows else None for name, of_rows in known.items()},
    }


def _confusion(heard: Sequence[tuple[str, str]], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    table = confusion_table([label for label, _ in heard], [other for _, other in heard], labels)
    return {str(label): {str(other): int(count) for other, count in row.items()} for label, row in table.iterrows()}


def _readings(utterances: pd.DataFrame, name: str) -> list[Scores | None]:
    """The scores of one of the four readings for each row, None where it was not read."""
    readings: list[Scores | None] = []
    for row, cell in enumerate(_column(utterances, name, optional=True)):
        if not isinstance(cell, list | tuple | np.ndarray):  # pyarrow gives arrays of dicts, and None or NaN for null
            readings.append(None)
            continue
        scores = {str(found["label"]): float(found["score"]) for found in cell}
        if wrong := [label for label, score in scores.items() if not 0 <= score <= 1]:
            raise InputError(f"{name} of row {row} gives '{wrong[0]}' a score that is no probability", where=WHERE)
        readings.append(scores)
    return readings


def _intended(frame: pd.DataFrame) -> list[str]:
    """The intended label of each row, from the struct or its flat column."""
    if "intended" in frame:
        return [str(value["label"]) for value in frame["intended"]]
    return [str(label) for label in _column(frame, "intended_label")]


def _column(frame: pd.DataFrame, name: str, *, optional: bool = False) -> list[Any]:
    """The values of a column; an optional one may be lacking, as may all of a frame without rows."""
    if name in frame:
        return list(frame[name])
    if optional or not len(frame):
        return [None] * len(frame)
    raise InputError(f"a table of {len(frame)} rows lacks the column {name}", where=WHERE)


def _is_set(value: Any) -> bool:
    """Whether a cell holds something: pandas writes null as None, NaN or NA, by the kind of column."""
    return bool(pd.notna(value))
