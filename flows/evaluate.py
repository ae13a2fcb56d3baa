# SPDX-License-Identifier: Apache-2.0
"""Train on synthetic, test on real: what students that saw only a release know about texts that people labelled.

First the contamination: test rows that repeat a row of the release are dropped and listed. Then each student is trained
on the release, on as many real rows, and on all of them, and all answer the same test rows beside the baselines.
Thresholds come from training rows held out of training, never from the test data.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flows.evaluation import Difference, Evaluation, Result
from flows.lessons import AS_MANY, RELEASE, Materials, StudentPlan, arms
from generators.training import train
from validators.contamination import SIMILARITY, Contamination, find_contamination
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.roles import Encoder, Passage, Reader
from validators.transfer import Answers, Measured, answer, measure

Tell = Callable[[str], None]

READ_ROWS = 512
ZERO_SHOT = ("zero-shot", "nothing", "none")


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How to evaluate."""

    similarity: float = SIMILARITY
    n_resamples: int = 1000
    seed: int = 0


def evaluate(
    materials: Materials,
    plans: Sequence[StudentPlan],
    encoder: Encoder,
    reader: Reader | None = None,
    settings: EvaluateSettings | None = None,
    *,
    tell: Tell = lambda line: None,
) -> Evaluation:
    """Evaluate a release; `encoder` finds copies, `reader` is the zero-shot baseline, `tell` hears of progress."""
    settings = settings or EvaluateSettings()
    release, test = materials.release, materials.test
    for other in (test, materials.real_train, materials.against):
        if other is not None and other.labels != release.labels:
            raise ValueError("all data must have the labels of the release, in their order")
    _refuse_one_class(test)
    tell(f"looking for rows of the release among {len(test)} test rows")
    contamination = _contamination(materials, encoder, settings.similarity)
    seen = {int(found.test_id) for found in contamination}
    test = test.take([row for row in range(len(test)) if row not in seen])
    _refuse_one_class(test)
    real_train, dropped = _without_copies(materials.real_train, test, encoder, settings.similarity)
    materials = replace(materials, test=test, real_train=real_train)

    unavailable = _unavailable(materials, reader)
    measured: dict[str, Measured] = {}
    results = []
    for result, figures in _answers(materials, plans, reader, settings, tell):
        results.append(result)
        measured[result.name] = figures
    positives = test.chosen.sum(axis=0)
    return Evaluation(
        release=release.name,
        release_rows=len(release),
        readers=release.readers,
        against=materials.against.name if materials.against else None,
        test=test.name,
        test_licence=test.licence,
        test_sha256=test.sha256,
        test_rows=len(test),
        encoder=encoder.model,
        labels=release.labels,
        one_class=tuple(label for label, n in zip(test.labels, positives, strict=True) if n in {0, len(test)}),
        without_test_rows=tuple(label for label, n in zip(test.labels, positives, strict=True) if n == 0),
        similarity=settings.similarity,
        contamination=tuple(contamination),
        real_rows_dropped=dropped,
        unavailable=unavailable,
        results=tuple(results),
        differences=tuple(_differences(results, measured)),
        seed=settings.seed,
    )


def _answers(
    materials: Materials, plans: Sequence[StudentPlan], reader: Reader | None, settings: EvaluateSettings, tell: Tell
) -> Iterator[tuple[Result, Measured]]:
    """Give each result as it is ready, with what differences are made of."""
    test = materials.test
    for name, found in _baselines(test).items():
        yield _measured(test, "nothing", name, [found], settings)
    if reader is not None:
        if reader.labels != test.labels:
            raise ValueError("the reader must have the labels of the release, in their order")
        tell(f"reading {len(test)} test rows without training")
        blocks = range(0, len(test), READ_ROWS)
        scores = np.concatenate(
            [reader.read([Passage(text) for text in test.texts[start : start + READ_ROWS]]) for start in blocks]
        )
        yield _measured(test, "nothing", "zero-shot", [answer(scores, reader.thresholds)], settings, reader.model)
    for arm in arms(materials, plans, settings.seed):
        answers, missing, notes = [], set(), []
        for run, lesson in enumerate(arm.lessons, start=1):
            student = arm.plan.student
            count = f" (run {run} of {len(arm.lessons)})" if len(arm.lessons) > 1 else ""
            tell(f"training {student.name} on {arm.trained_on}, {arm.kind}: {len(lesson.texts)} rows{count}")
            seed = settings.seed + run
            trained = train(student, lesson.texts, lesson.targets, lesson.chosen, folds=arm.plan.folds, seed=seed)
            scores, calibration = trained.predictor(test.texts), trained.calibration
            posteriors = calibration.posteriors(scores)
            answers.append(answer(scores, trained.thresholds, posteriors=posteriors, shares=calibration.shares))
            missing |= {test.labels[column] for column in trained.predictor.without_positives}
            notes.append(trained.predictor.note)
        result, figures = _measured(test, arm.trained_on, arm.plan.student.name, answers, settings)
        yield (
            replace(
                result,
                targets=arm.kind,
                rows=len(arm.lessons[0].texts),
                without_positives=tuple(label for label in test.labels if label in missing),
                notes=tuple(notes),
            ),
            figures,
        )


def _measured(
    test: LabelledTexts,
    trained_on: str,
    student: str,
    answers: Sequence[Answers],
    settings: EvaluateSettings,
    *notes: str,
) -> tuple[Result, Measured]:
    figures = measure(test.chosen, answers, test.labels, n_resamples=settings.n_resamples, seed=settings.seed)
    result = Result(trained_on, student, "none", 0, len(answers), (), notes, figures.intervals(), figures.per_label)
    return result, figures


def _baselines(test: LabelledTexts) -> dict[str, Answers]:
    """Answers that look at no text."""
    level = np.full(test.targets.shape, 0.5)
    majority = np.zeros(test.targets.shape, dtype=np.bool_)
    majority[:, int(test.chosen.sum(axis=0).argmax())] = True
    return {
        "majority": Answers(level, {"thresholds": majority, "top_1": majority}),
        "all labels": Answers(level, {"thresholds": np.ones(test.targets.shape, dtype=np.bool_)}),
    }


def _differences(results: Sequence[Result], measured: dict[str, Measured]) -> Iterator[Difference]:
    """Compare what differs in one thing only: the kind of targets, or what a student was trained on."""
    by_key = {(result.student, result.trained_on, result.targets): result.name for result in results}
    matched = [result.trained_on for result in results if " matched " in result.trained_on]
    for student in dict.fromkeys(result.student for result in results if result.targets != "none"):
        pairs = [((student, RELEASE, "soft"), (student, RELEASE, "hard"))]
        pairs += [((student, RELEASE, kind), ZERO_SHOT) for kind in ("hard", "soft")]
        pairs += [((student, RELEASE, kind), (student, AS_MANY, "hard")) for kind in ("hard", "soft")]
        if matched:
            one, other = dict.fromkeys(matched)
            pairs += [((student, one, kind), (student, other, kind)) for kind in ("hard", "soft")]
        for left, right in pairs:
            if left in by_key and right in by_key:
                figures = measured[by_key[left]].minus(measured[by_key[right]])
                yield Difference(by_key[left], by_key[right], figures)


def _contamination(materials: Materials, encoder: Encoder, similarity: float) -> list[Contamination]:
    """List test rows, numbered from 0, that repeat a row of the release or of the one it is compared with."""
    found: dict[str, Contamination] = {}
    test_ids = [str(row) for row in range(len(materials.test))]
    for rows in (materials.release, materials.against):
        if rows is not None:
            ids = [f"{rows.name}/{row_id}" for row_id in rows.ids]
            for one in find_contamination(
                ids, rows.texts, test_ids, materials.test.texts, encoder, similarity=similarity
            ):
                found.setdefault(one.test_id, one)
    return sorted(found.values(), key=lambda one: int(one.test_id))


def _without_copies(
    real: LabelledTexts | None, test: LabelledTexts, encoder: Encoder, similarity: float
) -> tuple[LabelledTexts | None, int]:
    """Drop real training rows that repeat a test row, or real data would have an advantage that synthetic has not."""
    if real is None:
        return None, 0
    ids = [str(row) for row in range(len(real))]
    test_ids = [str(row) for row in range(len(test))]
    copies = {
        int(one.test_id)
        for one in find_contamination(test_ids, test.texts, ids, real.texts, encoder, similarity=similarity)
    }
    return real.take([row for row in range(len(real)) if row not in copies]), len(copies)


def _unavailable(materials: Materials, reader: Reader | None) -> dict[str, str]:
    left_out = {}
    for rows in (materials.release, materials.against):
        if rows is not None and rows.perceived is None:
            left_out[f"soft targets of {rows.name}"] = rows.no_perceived
    if materials.real_train is None:
        left_out["students on real rows"] = "no real training data was given (--real-train)"
    if reader is None:
        left_out["zero-shot"] = "no reader was given"
    return left_out


def _refuse_one_class(test: LabelledTexts) -> None:
    positives = test.chosen.sum(axis=0)
    if np.count_nonzero((positives > 0) & (positives < len(test))) < 2:
        held = ", ".join(label for label, n in zip(test.labels, positives, strict=True) if n) or "no label"
        raise InputError(
            f"the test data has {len(test)} usable rows, and only {held}: nothing can be told apart",
            where=test.name,
            next_step="Give test data with rows of at least two labels of the release's taxonomy.",
        )
