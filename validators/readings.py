# SPDX-License-Identifier: Apache-2.0
"""What a blind reader found in one text, and the rule by which an intention counts as realised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from validators.records import Perceived

SCORE_DIGITS = 4  # beyond, the sum of a batch differs from that of another with the same text in it
PUBLISHED = 0.001  # scores below say nothing; leaving them out halves the column


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores of one text, and the score from which on each label counts as found; all in the order of `labels`."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    thresholds: tuple[float, ...]

    def score(self, label: str) -> float:
        """The reader's probability that a person would give the label."""
        return self.scores[self.labels.index(label)]

    def margin(self, label: str) -> float:
        """How far the score lies above the label's threshold, in log odds; below it is negative."""
        index = self.labels.index(label)
        return _log_odds(self.scores[index]) - _log_odds(self.thresholds[index])

    @property
    def ranking(self) -> tuple[str, ...]:
        """All labels, the one furthest above its threshold first (ties in the order of the taxonomy)."""
        return tuple(sorted(self.labels, key=lambda label: -self.margin(label)))

    def rank(self, label: str) -> int:
        """Place of a label in the ranking, counted from 1."""
        return self.ranking.index(label) + 1

    def perceived(self) -> tuple[Perceived, ...]:
        """The labels and scores as a row stores them: in the order of the ranking, without those that say nothing."""
        return tuple(
            Perceived(label=label, score=self.score(label)) for label in self.ranking if self.score(label) >= PUBLISHED
        )


@dataclass(frozen=True, slots=True)
class RealisedRule:
    """When an intended label counts as realised, the same in every stage.

    The label is among the first `rank` of the ranking, and its score reaches `score` times its threshold. One label
    alone is too strict: people who labelled GoEmotions gave 1.2 labels to a comment and often differed between
    neighbours such as annoyance and anger.
    """

    rank: int = 3
    score: float = 1.0

    def holds(self, reading: Reading, label: str) -> bool:
        """Whether a reading realises a label."""
        index = reading.labels.index(label)
        reached = reading.scores[index] >= self.score * reading.thresholds[index]
        return reached and reading.rank(label) <= self.rank


def make_reading(labels: Sequence[str], scores: Sequence[float], thresholds: Sequence[float]) -> Reading:
    """Round the scores so that the same text gives the same reading whatever it was read together with."""
    return Reading(
        tuple(labels),
        tuple(round(float(score), SCORE_DIGITS) for score in scores),
        tuple(float(threshold) for threshold in thresholds),
    )


def _log_odds(score: float) -> float:
    bounded = min(max(score, 1e-5), 1 - 1e-5)  # a rounded score can be 0 or 1
    return math.log(bounded / (1 - bounded))
