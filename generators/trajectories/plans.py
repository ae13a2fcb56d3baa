# SPDX-License-Identifier: Apache-2.0
"""Draw the trajectories of many dialogues from fitted dynamics, balanced over the whole run.

Independent draws meet the target only in expectation: of 200 turns over 20 emotions, each expected 10 times, some occur
4 times and some 17. Here a move goes to what has occurred too rarely so far the more readily, along the same graph, and
speakers' baselines are dealt out like cards. Which source decides, and whether an emotion lasts, is left to chance: so
persistence stays as fitted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from generators.trajectories.dynamics import Dynamics
from validators.dialogue_records import PlannedTurn, Reason, SpeakerIndex
from validators.records import Intensity

Floats = NDArray[np.float64]

PULL = 0.5  # how strongly a turn too few or too many weighs; 0 draws independently
STRONG = 0.5  # share of turns at intensity 2
INTENSITY_LASTS = 0.6  # while the emotion lasts


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The turns of one dialogue, and the emotion that each speaker tends to."""

    turns: tuple[PlannedTurn, ...]
    baselines: tuple[str, str]


@dataclass(slots=True)
class Balance:
    """How many turns have had a label, and how many speakers tend to it; hand it on to go on where others stopped."""

    turns: Counter[str] = field(default_factory=Counter)
    speakers: Counter[str] = field(default_factory=Counter)


def plan_trajectories(
    dynamics: Dynamics,
    lengths: Sequence[int],
    *,
    seed: int,
    starts: Sequence[str | None] = (),
    balance: Balance | None = None,
    pull: float = PULL,
) -> tuple[Trajectory, ...]:
    """Plan one trajectory for each length, in turns; speakers alternate.

    `starts` fixes the first emotion of the dialogues that have one, such as that of the utterance they grow from.
    `balance` is changed: planned in parts, a run is balanced as a whole. The same arguments give the same plans.
    """
    walk = _Walk(dynamics, np.random.default_rng(seed), balance or Balance(), pull)
    begins = [*starts, *[None] * (len(lengths) - len(starts))]
    return tuple(walk.dialogue(length, start) for length, start in zip(lengths, begins, strict=True))


class _Walk:
    def __init__(self, dynamics: Dynamics, random: np.random.Generator, balance: Balance, pull: float) -> None:
        self._labels = dynamics.labels
        self._place = {label: index for index, label in enumerate(dynamics.labels)}
        self._target = dynamics.target
        self._random = random
        self._balance = balance
        self._pull = pull
        self._counts = np.array([balance.turns[label] for label in dynamics.labels], dtype=np.float64)
        self._baselines = np.array([balance.speakers[label] for label in dynamics.labels], dtype=np.float64)
        sources = dynamics.sources
        self._sources = {
            "own": sources.own, "contagion": sources.contagion, "baseline": sources.baseline, "event": sources.event
        }  # fmt: skip
        self._matrices: dict[str, tuple[Floats, Floats, Reason]] = {
            "lasts": (dynamics.own, _off_diagonal(dynamics.own), "moves"),
            "caught": (dynamics.contagion, _off_diagonal(dynamics.contagion), "answers"),
        }

    def dialogue(self, length: int, start: str | None) -> Trajectory:
        """Plan one dialogue."""
        baselines = self._tendency(), self._tendency()
        last: list[int | None] = [None, None]
        turns: list[PlannedTurn] = []
        for number in range(length):
            speaker: SpeakerIndex = 1 if number % 2 else 0
            label, reason = self._next(last[speaker], last[1 - speaker], baselines[speaker])
            if number == 0 and start is not None:
                label = self._place[start]
            intensity = self._intensity(turns[-2] if number > 1 else None, reason)
            last[speaker] = label
            self._counts[label] += 1
            turns.append(PlannedTurn(speaker=speaker, label=self._labels[label], intensity=intensity, reason=reason))
        self._balance.turns.update(turn.label for turn in turns)
        self._balance.speakers.update(self._labels[baseline] for baseline in baselines)
        return Trajectory(tuple(turns), (self._labels[baselines[0]], self._labels[baselines[1]]))

    def _next(self, mine: int | None, other: int | None, baseline: int) -> tuple[int, Reason]:
        """Choose what is felt next, and why."""
        if other is None:
            return self._draw(self._target), "start"
        source = str(self._random.choice(list(self._sources), p=list(self._sources.values())))
        if source == "event":
            return self._draw(self._target), "event"
        if source == "contagion":
            return self._move("caught", other)
        if source == "own" and mine is not None:
            return self._move("lasts", mine)
        return baseline, "baseline"  # also who has not spoken yet: they are as they tend to be

    def _move(self, stays: Literal["lasts", "caught"], label: int) -> tuple[int, Reason]:
        """Keep an emotion, the speaker's own or the other's, or go along the graph from it."""
        matrix, moves, reason = self._matrices[stays]
        if self._happens(float(matrix[label, label])):
            return label, stays
        return self._draw(moves[label]), reason

    def _intensity(self, before: PlannedTurn | None, reason: Reason) -> Intensity:
        if before and reason == "lasts" and self._happens(INTENSITY_LASTS):
            return before.intensity or 1
        return 2 if self._happens(STRONG) else 1

    def _draw(self, chances: Floats) -> int:
        """Draw a label, rare ones so far more readily."""
        lag = self._counts.sum() * self._target - self._counts
        weights = chances * np.exp(self._pull * np.clip(lag, -20, 20))
        return int(self._random.choice(len(weights), p=weights / weights.sum()))

    def _tendency(self) -> int:
        """Draw the baseline of a speaker: only among labels that lag behind what their share of speakers would be."""
        lags = np.maximum(0.0, (self._baselines.sum() + 1) * self._target - self._baselines)
        label = int(self._random.choice(len(lags), p=lags / lags.sum()))
        self._baselines[label] += 1
        return label

    def _happens(self, chance: float) -> bool:
        # independent, and not spread evenly: sources that avoid repeating themselves would make emotions last less
        return bool(self._random.random() < chance)


def _off_diagonal(matrix: Floats) -> Floats:
    moves: Floats = matrix - np.diag(np.diag(matrix))
    return moves
