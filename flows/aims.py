# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about the reading loop, what a run may spend and what a release must reach."""

from typing import Annotated

from pydantic import Field

from validators.records import Record

Share = Annotated[float, Field(ge=0, le=1)]


class Loop(Record):
    """When a row counts as realised, what becomes of one that never is, and how the writer is steered."""

    rank: Annotated[int, Field(ge=1)] = 3  # people who label differ between neighbours; see validators/readings.py
    score: Annotated[float, Field(ge=0, le=10)] = (
        0.5  # of the label's threshold, which is the best one where labels are
    )
    # as frequent as in people's data; here each has its quota, and most are far more frequent than there
    keep_misses_above: Share | None = None
    worn_out: Annotated[int, Field(ge=2)] | None = 3  # rows of a label that open alike; more are not asked for


Minutes = Annotated[float, Field(gt=0)]


class Budget(Record):
    """What a run may spend before it ends with what it has.

    Calls and tokens count over all commands of a run, minutes in one command: in all, and of single stages, so that an
    early one leaves time to those after it.
    """

    calls: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    minutes: Minutes | None = None
    utterances_minutes: Minutes | None = None
    dialogues_minutes: Minutes | None = None

    def minutes_of(self, stage: str) -> float | None:
        """The minutes that a stage has for itself."""
        return {"utterances": self.utterances_minutes, "dialogues": self.dialogues_minutes}.get(stage)


class Floors(Record):
    """What a release must reach, or it fails."""

    kept_rows: Annotated[int, Field(ge=1)] = 1  # an empty dataset is never a success
    labels: Annotated[int, Field(ge=1)] = 1
    kept_dialogues: Annotated[int, Field(ge=0)] = 1  # where dialogues are wanted at all; with 0 there may be none
    realised: Share = 0.0  # share of the rows that passed the rules in which the reader heard the intention
    distinct_2: Share = 0.0  # different pairs of words over all pairs
    opening_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the commonest first three words: a ceiling
