# SPDX-License-Identifier: Apache-2.0
"""How often a reader agrees with people on what characters of fairy tales feel (FairytaleQA).

People were asked 'How did the fox feel when the cheese fell?' and answered in words, which flows/fairytaleqa.py turns
into labels. The reader gets neither question nor answer but the section that the question is about. Reading the
sentence with the most words of the question in common instead, alone or with its neighbours, agrees less: macro AUC
0.62 to 0.65 against 0.74 for the head trained on GoEmotions, since people often find the feeling elsewhere.

This is narration about characters rather than what a character says, several of whom may feel something in a section,
and one answer is kept where several would be right. So the figures compare readers with each other and with chance,
and tell how a reader does far from the texts it was trained on; they do not measure how well it reads utterances.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit  # type: ignore[import-untyped]

from flows.fairytaleqa import read_fairytaleqa
from flows.reader_evaluation import read_all
from flows.recipe import Recipe
from generators.readers.head import OnStep
from validators.errors import InputError
from validators.label_metrics import mean_of_defined, roc_auc, top_k_accuracy
from validators.readings import make_reading
from validators.roles import Passage, Reader
from validators.taxonomy import Taxonomy

FLOOR = 1e-4  # of scores before their log odds are taken; readers round to four digits


@dataclass(frozen=True, slots=True)
class ToldFeelings:
    """Sections and the label that people gave, out of so many questions about feelings."""

    told: tuple[tuple[str, str], ...]
    questions: int


@dataclass(frozen=True, slots=True)
class PeoplesFeelings:
    """Agreement of a reader with what people said that characters feel, each figure a share of `feelings`.

    `top_1` and `top_3`: the label is the first, or among the first three, of the ranking by which rows are judged
    (validators/readings.py). `top_1_centred` and `top_3_centred`: likewise when the reader's mean log odds of each
    label over all these texts are taken off, so that a label which it finds everywhere in narration ranks no higher.
    `common_1` and `common_3`: what always naming the one or three commonest labels would reach.
    """

    feelings: int
    questions: int
    """About feelings, whether or not their answers name a label."""
    top_1: float
    top_3: float
    top_1_centred: float
    top_3_centred: float
    common_1: float
    common_3: float
    macro_auc: float | None
    """Mean over the labels that some, and not all, feelings have."""
    labels: int
    """How many labels occur."""

    def as_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


def fairytaleqa_agreement(
    reader: Reader, folder: Path, taxonomy: Taxonomy, *, on_step: OnStep | None = None
) -> PeoplesFeelings:
    """Read the sections behind people's answers and compare; raises InputError where no answer names a label."""
    return measure_told(reader, read_told(folder, taxonomy), on_step=on_step)


def read_told(folder: Path, taxonomy: Taxonomy) -> ToldFeelings:
    """Find the answers that name a label of the taxonomy; raises InputError where there are none."""
    stories, outcomes = read_fairytaleqa(_recipe(folder), folder, taxonomy)
    told = tuple((story.sections[feeling.section], feeling.label) for story in stories for feeling in story.feelings)
    if not told:
        raise InputError(
            f"No answer in {folder} names a label of the taxonomy '{taxonomy.name}'.",
            where=str(folder),
            next_step="Use a taxonomy with words for the feelings of stories, such as goemotions.",
        )
    return ToldFeelings(told, sum(outcomes.values()))


def measure_told(reader: Reader, feelings: ToldFeelings, *, on_step: OnStep | None = None) -> PeoplesFeelings:
    """Let a reader read the sections, and compare."""
    told = feelings.told
    targets = np.array([[label == ours for label in reader.labels] for _, ours in told])
    scores = read_all(reader, [Passage(section) for section, _ in told], on_step=on_step, stage="stories")
    ranks = np.array(
        [
            make_reading(reader.labels, row, reader.thresholds.tolist()).rank(label)
            for row, (_, label) in zip(scores.tolist(), told, strict=True)
        ]
    )
    log_odds = logit(np.clip(scores, FLOOR, 1 - FLOOR))
    centred = log_odds - log_odds.mean(axis=0)
    shares = np.sort(targets.mean(axis=0))[::-1]
    auc = float(mean_of_defined(roc_auc(targets, scores)))
    return PeoplesFeelings(
        feelings=len(told),
        questions=feelings.questions,
        top_1=float((ranks <= 1).mean()),
        top_3=float((ranks <= 3).mean()),
        top_1_centred=top_k_accuracy(targets, centred, 1) or 0.0,
        top_3_centred=top_k_accuracy(targets, centred, 3) or 0.0,
        common_1=float(shares[0]),
        common_3=float(shares[:3].sum()),
        macro_auc=None if np.isnan(auc) else auc,
        labels=int(targets.any(axis=0).sum()),
    )


def _recipe(folder: Path) -> Recipe:
    """What flows/fairytaleqa.py wants to know: sections as people cut them, however long."""
    return Recipe.model_validate(
        {
            "name": "fairytaleqa",
            "stories": {"fairytaleqa": str(folder), "licence": "Apache-2.0", "section_words": 2000},
            "writer": {"backend": "echo"},
            "encoder": {"backend": "hashed"},
            "utterances": {"rows": 1},
        }
    )
