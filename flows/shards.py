# SPDX-License-Identifier: Apache-2.0
"""The shards of a stage: which of them are done, how one is made, and when no more of them are begun."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flows.done_records import DoneRecord
from flows.runs import Run, StoppedError
from flows.shards_at_once import Budgeted
from validators.errors import DeferredError


@dataclass(frozen=True)
class Shards:
    """What a stage is to make, in this order."""

    stage: str
    indexes: Sequence[int]
    done: Callable[[int], DoneRecord | None]
    """The record of a shard that is whole on disk."""
    make: Callable[[int], DoneRecord]
    """Makes one shard in this process."""
    budgeted: bool = False
    """Whether no further shard is begun once a budget is spent."""


MakeAll = Callable[[Run, Shards], str]
"""Makes the shards of a stage; gives why not all of them were begun, "" if they were."""


@dataclass
class Turn:
    """One way through the shards of a stage: what is asked before a shard is begun and after it is done."""

    run: Run
    shards: Shards

    def __post_init__(self) -> None:
        stage, run = self.shards.stage, self.run
        self._budget = Budgeted(lambda: budget_spent(run, stage) if self.shards.budgeted else "")

    @property
    def spent(self) -> str:
        """Why no further shard is begun."""
        return self._budget.reason

    def is_to_make(self, index: int) -> bool:
        """Whether a shard is to be begun: it is not done, and no budget is spent; `StoppedError` once the run stops."""
        if self.run.stopping.is_set():
            raise StoppedError(self.shards.stage)
        record = self.shards.done(index)
        if record is not None:
            self.end(record)
            return False
        return not self._budget.refuses(index)

    def make(self, index: int) -> None:
        """Make a shard in this thread, if it is to be made."""
        if self.is_to_make(index):
            self.end(self.shards.make(index))

    def end(self, record: DoneRecord) -> None:
        """Show a shard that is done; the run stops where one reason takes too many rows."""
        self.run.watch.shard(record)
        self.run.stop_if_systematic(record)


@dataclass
class Failures:
    """What went wrong with shards. The first failure stops the run, except rows without an answer: those stay open."""

    run: Run
    deferred: DeferredError | None = None
    failure: BaseException | None = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what a shard ended with; what is no `Exception`, as Ctrl-C, is raised at once."""
        try:
            yield
        except StoppedError:
            return  # it gave up because another shard failed, which is noted too
        except DeferredError as error:
            self.deferred = self.deferred or error
        except BaseException as error:
            self.run.stopping.set()
            self.failure = self.failure or error
            if not isinstance(error, Exception):
                raise

    def raise_first(self) -> None:
        """Raise what was noted, a failure before rows without an answer."""
        if self.failure or self.deferred:
            raise self.failure or self.deferred  # type: ignore[misc]  # one of them is set


def in_turn(run: Run, shards: Shards) -> str:
    """Make shards one after the other in this thread, without Prefect."""
    turn = Turn(run, shards)
    for index in shards.indexes:
        turn.make(index)
    return turn.spent


def budget_spent(run: Run, stage: str) -> str:
    """Say which budget is spent, "" if none; the minutes of a stage count from when it was first asked about here."""
    budget, spent = run.recipe.budget, run.spent
    now_s = time.monotonic()
    limits = (
        ("calls", spent.calls, budget.calls),
        ("tokens", spent.tokens, budget.tokens),
        ("minutes", (now_s - run.began_s) / 60, budget.minutes),
        (
            f"minutes for {stage}",
            (now_s - run.stage_began_s.setdefault(stage, now_s)) / 60,
            budget.minutes_of(stage),
        ),
    )
    for name, value, limit in limits:
        if limit is not None and value >= limit:
            return f"the budget of {limit:g} {name} is spent"
    return ""
