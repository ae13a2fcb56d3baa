# SPDX-License-Identifier: Apache-2.0
"""What the students of an evaluation are trained on: a release, as many real rows, all of them, or matched releases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from flows.synthetic_rows import SyntheticRows
from generators.sampling import matched_samples, stratified_sample
from generators.students import Student
from validators.errors import InputError
from validators.labelled import LabelledTexts

Kind = Literal["hard", "soft"]

RELEASE: Final = "release"
AS_MANY: Final = "real, as many"
ALL_REAL: Final = "real, all"
MIN_ROWS: Final = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StudentPlan:
    """A student and how much work it is worth."""

    student: Student
    folds: int
    """For the thresholds: each is one more training."""
    samples: int
    """How many samples of as many real rows, or of two matched releases, are averaged."""
    all_real: bool
    """Whether it is trained on all real rows too."""


@dataclass(frozen=True, slots=True, eq=False)
class Materials:
    """What is compared: the release, the real test data, and perhaps real training data and another release."""

    release: SyntheticRows
    test: LabelledTexts
    real_train: LabelledTexts | None = None
    against: SyntheticRows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Rows to learn from; `chosen` are the labels that count as true when thresholds are chosen."""

    texts: tuple[str, ...]
    targets: Floats
    chosen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Arm:
    """One result to be: a student and the lessons of its runs."""

    trained_on: str
    kind: Kind
    plan: StudentPlan
    lessons: tuple[Lesson, ...]


def arms(materials: Materials, plans: Sequence[StudentPlan], seed: int) -> Iterator[Arm]:
    """Give all results to be, each student's one after the other."""
    release, real, against = materials.release, materials.real_train, materials.against
    for plan in plans:
        for kind in _kinds(release):
            yield Arm(RELEASE, kind, plan, (_lesson(release, kind),))
        if real is not None:
            _refuse_few(len(real), f"real training rows of {real.name} that repeat no test row")
            samples = [stratified_sample(real.targets, len(release), seed + n) for n in range(plan.samples)]
            yield Arm(AS_MANY, "hard", plan, tuple(_real_lesson(real.take(rows)) for rows in samples))
            if plan.all_real:
                yield Arm(ALL_REAL, "hard", plan, (_real_lesson(real),))
        if against is not None:
            pairs = [matched_samples(release.intended, against.intended, seed + n) for n in range(plan.samples)]
            _refuse_few(len(pairs[0][0]), f"labels that both {release.name} and {against.name} have")
            for kind in _kinds(release, against):
                for rows, place in ((release, 0), (against, 1)):
                    lessons = tuple(_lesson(rows.take(pair[place]), kind) for pair in pairs)
                    yield Arm(_matched(rows, place), kind, plan, lessons)


def _refuse_few(n_rows: int, what: str) -> None:
    if n_rows < MIN_ROWS:
        raise InputError(
            f"{n_rows} rows are too few to train a student on; it needs {MIN_ROWS}",
            where=what,
            next_step="Give more data, or leave the comparison out.",
        )


def _matched(rows: SyntheticRows, place: int) -> str:
    return f"{'against' if place else RELEASE} matched ({rows.name})"


def _kinds(*releases: SyntheticRows) -> list[Kind]:
    """Soft targets only where all releases have them."""
    return ["hard", "soft"] if all(rows.perceived is not None for rows in releases) else ["hard"]


def _lesson(rows: SyntheticRows, kind: Kind) -> Lesson:
    soft = rows.perceived if kind == "soft" else None
    return Lesson(rows.texts, rows.intended if soft is None else soft, rows.intended > 0)


def _real_lesson(rows: LabelledTexts) -> Lesson:
    return Lesson(rows.texts, rows.targets, rows.chosen)
