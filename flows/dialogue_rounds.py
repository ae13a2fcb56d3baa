# SPDX-License-Identifier: Apache-2.0
"""Dialogues in rounds: plan what is missing, write and judge it, drop what repeats, count, and go on.

work/dialogue_plan/part-00001.parquet        what round 1 asks for; written before it is worked on
work/dialogues/part-*.parquet                its shards, numbered on from those of round 0
work/dialogue_duplicates/part-00001.parquet  which of its dialogues repeat no other
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from flows.dialogue_plans import openings_of, wanted_of
from flows.dialogue_role import Dialogues
from flows.dialogues import STAGE, make_dialogues
from flows.done_records import DoneRecord
from flows.duplicates import Written, keep_unrepeated, unrepeated_ids
from flows.earlier import whole_text
from flows.runs import Run
from flows.shards import MakeAll, Shards, budget_spent
from generators.dialogues.plans import plan_dialogues
from validators.dialogue_records import PlannedDialogue
from validators.dialogue_schemas import DIALOGUES, PLANNED_DIALOGUES
from validators.records import Evidence, Utterance
from validators.schemas import REJECTED, to_records, to_table

PLAN = "dialogue_plan"
DUPLICATES = "dialogue_duplicates"


@dataclass(frozen=True)
class Round:
    """One round: its number, its first shard, and the dialogues that it asks for."""

    number: int
    first_shard: int
    rows: tuple[PlannedDialogue, ...]

    def shards(self, shard_rows: int) -> dict[int, tuple[PlannedDialogue, ...]]:
        """The dialogues by shard, as their ids say."""
        starts = range(0, len(self.rows), shard_rows)
        return {self.first_shard + n: self.rows[start : start + shard_rows] for n, start in enumerate(starts)}


@dataclass(frozen=True)
class Talked:
    """How far the dialogues came, and why not further."""

    planned: tuple[PlannedDialogue, ...]
    kept: pa.Table
    rejected: pa.Table
    wanted: int
    rounds: int
    short: str
    """Why fewer were kept than wanted; "" if not."""
    counts: Mapping[str, int]
    """What shards counted of their turns and their judge; see `count_outcome`."""


def fill_dialogues(
    run: Run, utterances: pa.Table, evidence: Sequence[Evidence], make_all: MakeAll, *, go_on: bool
) -> Talked | None:
    """Write dialogues round by round until as many are kept as the recipe wants; None where it wants none.

    `utterances` are the kept ones, from which dialogues grow. Without `go_on` only what lies on disk is read.
    """
    role = run.recipe.dialogues
    if role is None:
        return None
    wanted = wanted_of(run.recipe, role, run.taxonomy)
    rows = {row.utterance_id: row for row in to_records(utterances, Utterance)}
    openings = openings_of(list(rows.values()), evidence)
    rounds: list[Round] = []
    n_kept, spent = 0, ""
    while True:
        planned = [row for one in rounds for row in one.rows]
        first_shard = sum(len(one.shards(role.shard_rows)) for one in rounds)
        asked = _stored(run, len(rounds))
        spent = spent or budget_spent(run, STAGE)
        count = min(role.rows - n_kept, role.rows * role.tries - len(planned))
        if not asked and go_on and not spent and count > 0:
            asked = plan_dialogues(
                wanted, planned, openings, count=count, first_shard=first_shard, shard_rows=role.shard_rows
            )
            _store(run, len(rounds), asked)
        if not asked:
            break
        worked, cut = _work(run, role, Round(len(rounds), first_shard, asked), rows, make_all)
        spent = spent or cut
        if not worked.rows:
            break
        rounds.append(worked)
        n_kept = len(unrepeated_ids(run, DUPLICATES, range(len(rounds))))
    return _gather(run, role, rounds, spent)


def _stored(run: Run, number: int) -> tuple[PlannedDialogue, ...]:
    if run.folder.done(PLAN, number) is None:
        return ()
    return tuple(to_records(run.folder.read_shard(PLAN, number)[0], PlannedDialogue))


def _store(run: Run, number: int, rows: Sequence[PlannedDialogue]) -> None:
    """Write the plan of a round before it is worked on, so that a resumed run asks for the same dialogues."""
    table = to_table(rows, PLANNED_DIALOGUES)
    run.folder.write_shard(PLAN, number, planned=len(rows), kept=table, rejected=REJECTED.empty_table())


def _work(
    run: Run, role: Dialogues, planned: Round, utterances: Mapping[str, Utterance], make_all: MakeAll
) -> tuple[Round, str]:
    """Write and deduplicate a round; where the budget ends in it, what was not begun is not planned."""
    shards = planned.shards(role.shard_rows)
    done = sum(len(rows) for index, rows in shards.items() if run.folder.done_path(STAGE, index).exists())
    run.progress.begin(STAGE, len(planned.rows), done)
    work = Shards(
        STAGE,
        list(shards),
        done=lambda index: run.folder.done(STAGE, index),
        make=lambda index: make_dialogues(run, role, index, shards[index], utterances),
        budgeted=True,
    )
    with run.timed(STAGE):
        spent = make_all(run, work)
    if spent:
        # no shard is refused after a later one was begun, so what was made is a beginning of the round
        made = [index for index in shards if run.folder.done(STAGE, index)]
        planned = Round(planned.number, planned.first_shard, tuple(row for index in made for row in shards[index]))
        _store(run, planned.number, planned.rows)
    if planned.rows:
        indexes = list(planned.shards(role.shard_rows))
        run.progress.begin(DUPLICATES, sum(record.kept for record in _records(run, indexes)))
        work = Shards(
            DUPLICATES,
            [planned.number],
            done=lambda number: run.folder.done(DUPLICATES, number),
            make=lambda number: drop_repeated(run, number, indexes),
        )
        with run.timed(DUPLICATES):
            make_all(run, work)
    return planned, spent


def drop_repeated(run: Run, number: int, shards: Sequence[int]) -> DoneRecord:
    """Keep the dialogues of a round that repeat none, by their lines, of earlier versions neither."""
    written = {
        row["dialogue_id"]: Written(whole_text(row["turns"]), "", row["seed"]) for row in _read(run, shards).to_pylist()
    }
    return keep_unrepeated(run, DUPLICATES, number, written, run.inputs.earlier.dialogues)


def _gather(run: Run, role: Dialogues, rounds: Sequence[Round], spent: str) -> Talked:
    indexes = [index for one in rounds for index in one.shards(role.shard_rows)]
    repeated = [run.folder.read_rejected(DUPLICATES, one.number) for one in rounds]
    lost = [run.folder.read_rejected(STAGE, index) for index in indexes]
    kept = _read(run, indexes).filter(pc.field("dialogue_id").isin(unrepeated_ids(run, DUPLICATES, range(len(rounds)))))
    planned = tuple(row for one in rounds for row in one.rows)
    short = ""
    if kept.num_rows < role.rows:
        short = spent or f"{len(planned)} were written, {role.tries} for each wanted, and too few passed"
    counts: Counter[str] = Counter()
    for record in _records(run, indexes):
        counts.update(record.counts)
    return Talked(
        planned=planned,
        kept=kept.sort_by("dialogue_id").cast(DIALOGUES),
        rejected=pa.concat_tables([REJECTED.empty_table(), *lost, *repeated]).sort_by("planned_id").cast(REJECTED),
        wanted=role.rows,
        rounds=len(rounds),
        short=short,
        counts=dict(sorted(counts.items())),
    )


def _read(run: Run, shards: Sequence[int]) -> pa.Table:
    return pa.concat_tables([DIALOGUES.empty_table(), *(run.folder.read_kept(STAGE, index) for index in shards)])


def _records(run: Run, indexes: Sequence[int]) -> list[DoneRecord]:
    return [record for index in indexes if (record := run.folder.done(STAGE, index))]
