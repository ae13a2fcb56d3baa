# SPDX-License-Identifier: Apache-2.0
"""How a shard is made from what lies on disk alone: its plan was stored before it was begun."""

import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, NamedTuple

import pyarrow.compute as pc

from flows import dialogue_rounds, evidence, quotas, speech
from flows.dialogue_role import Dialogues
from flows.dialogues import STAGE as DIALOGUES
from flows.dialogues import make_dialogues
from flows.done_records import DoneRecord
from flows.duplicates import STAGE as DUPLICATES
from flows.duplicates import drop_duplicates
from flows.runs import Run
from flows.speech_plans import shard_of
from flows.studio import StudioPool
from flows.utterances import STAGE as UTTERANCES
from flows.utterances import make_utterances
from validators.dialogue_records import PlannedDialogue
from validators.errors import StorageError
from validators.records import PlannedUtterance, Utterance
from validators.schemas import to_records


class _Round(NamedTuple):
    """A stored round and its shards."""

    number: int
    shards: range


def make_planned(run: Run, stage: str, index: int, studio: Callable[[], StudioPool]) -> DoneRecord:
    """Make a shard of any stage; one that is done already, by another who was thought dead, is left as it is."""
    done = evidence.done_evidence(run, index) if stage == evidence.STAGE else run.folder.done(stage, index)
    if done is not None:
        return done
    if stage == speech.STAGE:
        rows = [row for row in speech.stored_plan(run) if shard_of(row) == index]
        return speech.make_clips(run, studio(), index, rows)
    return MAKERS[stage](run, index)


def _make_evidence(run: Run, index: int) -> DoneRecord:
    return evidence.make_evidence(run, index, evidence.evidence_shards(run)[index])


def _make_utterances(run: Run, index: int) -> DoneRecord:
    size = run.recipe.shard_rows
    found = _round_with(run, quotas.STAGE, size, shard=index)
    plan, _ = run.folder.read_shard(quotas.STAGE, found.number)
    rows = to_records(plan.slice((index - found.shards.start) * size, size), PlannedUtterance)
    return make_utterances(run, index, rows)


def _drop_duplicates(run: Run, number: int) -> DoneRecord:
    found = _round_with(run, quotas.STAGE, run.recipe.shard_rows, number=number)
    return drop_duplicates(run, number, found.shards)


def _make_dialogues(run: Run, index: int) -> DoneRecord:
    role = _dialogues(run)
    found = _round_with(run, dialogue_rounds.PLAN, role.shard_rows, shard=index)
    plan, _ = run.folder.read_shard(dialogue_rounds.PLAN, found.number)
    rows = to_records(plan.slice((index - found.shards.start) * role.shard_rows, role.shard_rows), PlannedDialogue)
    openings = _utterances(run, {row.utterance_id for row in rows if row.utterance_id})
    return make_dialogues(run, role, index, rows, openings)


def _drop_repeated(run: Run, number: int) -> DoneRecord:
    found = _round_with(run, dialogue_rounds.PLAN, _dialogues(run).shard_rows, number=number)
    return dialogue_rounds.drop_repeated(run, number, found.shards)


MAKERS: Final = {
    evidence.STAGE: _make_evidence,
    UTTERANCES: _make_utterances,
    DUPLICATES: _drop_duplicates,
    DIALOGUES: _make_dialogues,
    dialogue_rounds.DUPLICATES: _drop_repeated,
}


def _round_with(run: Run, stage: str, size: int, *, number: int | None = None, shard: int | None = None) -> _Round:
    """The round of a number, or with a shard; `size` is how many rows a shard of its stage has."""
    first = 0
    for at in count():
        record = run.folder.done(stage, at)
        if record is None:
            raise StorageError(
                f"the plan of round {at} is not there",
                where=str(run.folder.done_path(stage, at)),
                next_step="see that this machine mounts the run's folder as the driver does, and run again",
            )
        shards = range(first, first + math.ceil(record.kept / size))
        if at == number or (shard is not None and shard in shards):
            return _Round(at, shards)
        first = shards.stop
    raise AssertionError("unreachable: the numbers of rounds have no end")


def _dialogues(run: Run) -> Dialogues:
    if run.recipe.dialogues is None:
        raise TypeError("the recipe wants no dialogues")
    return run.recipe.dialogues


def _utterances(run: Run, utterance_ids: Iterable[str]) -> dict[str, Utterance]:
    """Utterances from which dialogues grow, each from the shard that its id names."""
    wanted: dict[int, list[str]] = {}
    for utterance_id in sorted(utterance_ids):
        wanted.setdefault(int(utterance_id.split("-")[1]), []).append(utterance_id)
    found: dict[str, Utterance] = {}
    for shard, ids in wanted.items():
        kept, _ = run.folder.read_shard(UTTERANCES, shard)
        rows = kept.filter(pc.field("utterance_id").isin(ids))
        found |= {row.utterance_id: row for row in to_records(rows, Utterance)}
    return found
