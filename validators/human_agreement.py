# SPDX-License-Identifier: Apache-2.0
"""How far people agree about the items of a release: with each other, with themselves, with what was intended.

An answer says something about every label: chosen or not (nominal), and how strongly (ordinal: not chosen, a trace,
mild, strong). Intervals are bootstraps over items, all answers to an item staying together. Where a figure is undefined
it is None: alpha needs an item that two people rated, and at least two values among such answers.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from krippendorff import alpha as _alpha
from numpy.typing import NDArray

from validators.agreement import CONFIDENCE, RESAMPLES, Interval
from validators.rating_schemas import INTENSITIES, Rating

Level = Literal["nominal", "ordinal"]
Counts = NDArray[np.int64]
"""How many people gave an item each value, shape (items, values)."""

_VALUES = 1 + len(INTENSITIES)  # not chosen, then the intensities


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How people used one label."""

    chosen: int
    """Answers that hold it."""
    alpha: Interval | None
    """Chosen or not."""
    alpha_intensity: Interval | None
    intended_heard: Interval | None
    """Of the answers to items that intend it, the share that hold it."""


@dataclass(frozen=True, slots=True)
class RaterFigures:
    """How one rater answered."""

    answers: int
    checks: int
    checks_failed: int
    counted: bool


@dataclass(frozen=True, slots=True)
class HumanAgreement:
    """What the answers of people to items of one kind say. All but `raters` is of the raters that count."""

    items: int
    items_of_two: int
    """Items that at least two people rated; alpha rests on these alone."""
    answers: int
    alpha: Interval | None
    """Over all decisions, each item and label being one: chosen or not."""
    alpha_intensity: Interval | None
    intended_heard: Interval | None
    """Share of answers that hold the intended label."""
    intended_f1: Interval | None
    """F1 of the answers' labels against the intended ones, over all decisions."""
    perceived_heard: Interval | None
    perceived_f1: Interval | None
    repeats: int
    """Items that somebody answered twice."""
    repeats_equal: float | None
    """Share of these with the same labels both times."""
    repeats_overlap: float | None
    """Mean share of the labels of either time that were there both times; 1 where both times there was none."""
    per_label: Mapping[str, LabelFigures]
    raters: Mapping[str, RaterFigures]

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and numbers, None where undefined."""
        return asdict(self)


def krippendorff_alpha(counts: Counts, level: Level) -> float | None:
    """Krippendorff's alpha of values 0, 1, ... from how many people gave each item each of them; None if undefined.

    Whoever did not rate an item is missing there, and an item with one answer says nothing about agreement.
    """
    paired = counts[counts.sum(axis=1) >= 2]
    if np.count_nonzero(paired.sum(axis=0)) < 2:
        return None
    return float(_alpha(value_counts=paired, level_of_measurement=level))


def human_agreement(
    ratings: Sequence[Rating], labels: Sequence[str], *, n_resamples: int = RESAMPLES, seed: int = 0
) -> HumanAgreement:
    """Measure the answers to items of one kind."""
    counted = [one for one in ratings if one.counted]
    first = [one for one in counted if one.presentation == "first"]
    by_item: dict[tuple[str, int | None], list[Rating]] = defaultdict(list)
    for one in first:
        by_item[one.item].append(one)
    answers = [by_item[item] for item in sorted(by_item, key=lambda item: (item[0], item[1] or 0))]
    drawn = _resamples(len(answers), n_resamples, seed)
    values = _value_counts(answers, labels)
    chosen = np.stack([values[:, :, 0], values[:, :, 1:].sum(axis=2)], axis=2)
    first_of_two, equal, overlap = _repeats(counted)
    return HumanAgreement(
        items=len(answers),
        items_of_two=sum(len(given) >= 2 for given in answers),
        answers=len(first),
        alpha=_pooled(chosen, "nominal", drawn),
        alpha_intensity=_pooled(values, "ordinal", drawn),
        intended_heard=_bootstrap(_hits(answers, "intended_label"), _share, drawn),
        intended_f1=_bootstrap(_hits(answers, "intended_label"), _f1, drawn),
        perceived_heard=_bootstrap(_hits(answers, "perceived_label"), _share, drawn),
        perceived_f1=_bootstrap(_hits(answers, "perceived_label"), _f1, drawn),
        repeats=first_of_two,
        repeats_equal=equal,
        repeats_overlap=overlap,
        per_label={
            label: LabelFigures(
                chosen=int(chosen[:, place, 1].sum()),
                alpha=_pooled(chosen[:, [place]], "nominal", drawn),
                alpha_intensity=_pooled(values[:, [place]], "ordinal", drawn),
                intended_heard=_bootstrap(_hits(answers, "intended_label", label), _share, drawn),
            )
            for place, label in enumerate(labels)
        },
        raters=_raters(ratings),
    )


def _value_counts(answers: Sequence[Sequence[Rating]], labels: Sequence[str]) -> Counts:
    """How many answers gave each item and label each value, shape (items, labels, values)."""
    position = {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(answers), len(labels), _VALUES), dtype=np.int64)
    for row, given in enumerate(answers):
        counts[row, :, 0] = len(given)
        for one in given:
            for perceived in one.labels:
                counts[row, position[perceived.label], 0] -= 1
                counts[row, position[perceived.label], 1 + perceived.intensity] += 1
    return counts


def _pooled(counts: Counts, level: Level, drawn: Sequence[Counts]) -> Interval | None:
    def figure(part: Counts) -> float | None:
        return krippendorff_alpha(part.reshape(-1, part.shape[-1]), level)

    return _bootstrap(counts, figure, drawn)


def _hits(answers: Sequence[Sequence[Rating]], key: str, label: str | None = None) -> Counts:
    """For each item: its answers, those that hold its label, and labels chosen; 0 for items without (this) label."""
    rows = np.zeros((len(answers), 3), dtype=np.int64)
    for row, given in enumerate(answers):
        wanted = getattr(given[0], key)  # the same in all answers to an item
        if wanted is not None and label in {None, wanted}:
            rows[row] = len(given), sum(wanted in one.heard for one in given), sum(len(one.labels) for one in given)
    return rows


def _share(hits: Counts) -> float | None:
    answers, found, _ = hits.sum(axis=0)
    return float(found / answers) if answers else None


def _f1(hits: Counts) -> float | None:
    # each answer is to find one label: precision is found of chosen, recall found of answers
    answers, found, chosen = hits.sum(axis=0)
    return float(2 * found / (answers + chosen)) if answers else None


def _resamples(items: int, n_resamples: int, seed: int) -> list[Counts]:
    random = np.random.default_rng(seed)
    return [random.integers(items, size=items) for _ in range(n_resamples)] if items else []


def _bootstrap(per_item: Counts, figure: Callable[[Counts], float | None], drawn: Sequence[Counts]) -> Interval | None:
    """A figure of items and its percentile interval; a resample in which it is undefined is left out."""
    estimate = figure(per_item)
    if estimate is None:
        return None
    found = [value for rows in drawn if (value := figure(per_item[rows])) is not None]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) if found else (estimate, estimate)
    return Interval(estimate, float(low), float(high))


def _repeats(ratings: Sequence[Rating]) -> tuple[int, float | None, float | None]:
    """How many items somebody answered twice, how often alike, and the mean overlap (Jaccard) of both answers."""
    first = {(one.rater, one.item): one.heard for one in ratings if one.presentation == "first"}
    pairs = [
        (first[key], one.heard)
        for one in ratings
        if one.presentation == "again" and (key := (one.rater, one.item)) in first
    ]
    if not pairs:
        return 0, None, None
    overlaps = [len(one & other) / len(one | other) if one | other else 1.0 for one, other in pairs]
    return len(pairs), sum(one == other for one, other in pairs) / len(pairs), sum(overlaps) / len(pairs)


def _raters(ratings: Sequence[Rating]) -> dict[str, RaterFigures]:
    by_rater: dict[str, list[Rating]] = defaultdict(list)
    for one in ratings:
        by_rater[one.rater].append(one)
    return {
        rater: RaterFigures(
            answers=sum(one.presentation != "check" for one in given),
            checks=sum(one.presentation == "check" for one in given),
            checks_failed=sum(one.failed for one in given),
            counted=all(one.counted for one in given),
        )
        for rater, given in sorted(by_rater.items())
    }
