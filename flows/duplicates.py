# SPDX-License-Identifier: Apache-2.0
"""The duplicate stage: after each round, its rows against each other, those of earlier rounds and earlier versions."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flows.done_records import DoneRecord
from flows.partitioned import FOLDER, PartitionedSearch
from flows.runs import Run
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.duplicates import Duplicate, find_duplicates
from validators.records import RejectedRow
from validators.schemas import REJECTED, UTTERANCES, to_table

STAGE = "duplicates"
KEPT = pa.schema([pa.field("utterance_id", pa.string(), nullable=False)])


def drop_duplicates(run: Run, number: int, shards: Sequence[int]) -> DoneRecord:
    """Keep the ids of a round's rows that repeat no other; each dropped row names the one it repeats and how closely.

    `shards` are those of the round; earlier rounds have the lower numbers, and their rows always stay, as do those of
    earlier versions, which are named `<number of the version>/<id>`.
    """
    earlier = _kept_before(run, number, range(min(shards)))
    written = _read(run, shards)
    new_ids = {str(utterance_id) for utterance_id in written.column("utterance_id").to_pylist()}
    written = pa.concat_tables([earlier, written])
    ids = [str(utterance_id) for utterance_id in written.column("utterance_id").to_pylist()]
    before = run.inputs.earlier.utterances
    found = find_duplicates(
        [*before, *ids],
        [*before.values(), *(str(text) for text in written.column("text").to_pylist())],
        run.inputs.models.open_encoder(),
        similarity=run.recipe.duplicates.similarity,
        large=PartitionedSearch(run.folder.work / FOLDER),
    )
    position = {utterance_id: row for row, utterance_id in enumerate(ids)}
    rejected = [
        repeated_row(
            duplicate,
            STAGE,
            label=written.column("intended")[position[duplicate.row_id]]["label"].as_py(),
            seed=written.column("seed")[position[duplicate.row_id]].as_py(),
            reply=written.column("text")[position[duplicate.row_id]].as_py(),
        )
        for duplicate in found
        if duplicate.row_id in new_ids
    ]
    dropped = {row.planned_id for row in rejected}
    kept = [utterance_id for utterance_id in ids if utterance_id in new_ids - dropped]
    run.progress.advance(STAGE, kept=len(kept), rejected=len(rejected))
    return run.folder.write_shard(
        STAGE,
        number,
        planned=len(new_ids),
        kept=pa.table({"utterance_id": pa.array(kept, pa.string())}, schema=KEPT),
        rejected=to_table(rejected, REJECTED),
    )


def repeated_row(duplicate: Duplicate, stage: str, *, label: str, seed: int, reply: str) -> RejectedRow:
    """Reject a row that repeats another, of any stage: it names the one that stays and how closely."""
    return RejectedRow(
        planned_id=duplicate.row_id,
        stage=stage,
        gate="duplicates",
        reason=f"{duplicate.kind}_duplicate",
        detail=f"of {duplicate.kept_id}, cosine {duplicate.similarity:.4f}",
        label=label,
        attempt=1,
        seed=seed,
        reply=reply,
    )


def _read(run: Run, shards: Iterable[int]) -> pa.Table:
    columns = ["utterance_id", "text", "intended", "seed"]
    tables = [run.folder.read_kept(UTTERANCES_STAGE, index).select(columns) for index in shards]
    return pa.concat_tables([UTTERANCES.empty_table().select(columns), *tables])


def _kept_before(run: Run, number: int, shards: Iterable[int]) -> pa.Table:
    """The rows that earlier rounds kept."""
    unique = [run.folder.read_kept(STAGE, earlier).column("utterance_id") for earlier in range(number)]
    ids = pa.chunked_array([chunk for column in unique for chunk in column.chunks], pa.string())
    return _read(run, shards).filter(pc.field("utterance_id").isin(ids.combine_chunks()))
