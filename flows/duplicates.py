# SPDX-License-Identifier: Apache-2.0
"""The duplicate stage: over all written rows at once, after the last of them."""

import pyarrow as pa

from flows.run_folder import DoneRecord
from flows.runs import Run
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.duplicates import find_duplicates
from validators.records import RejectedRow
from validators.schemas import REJECTED, to_table

STAGE = "duplicates"
KEPT = pa.schema([pa.field("utterance_id", pa.string(), nullable=False)])


def drop_duplicates(run: Run, n_shards: int) -> DoneRecord:
    """Keep the ids of rows that repeat no other; each dropped row names the one it repeats and how close it is."""
    columns = ["utterance_id", "text", "intended", "seed"]
    written = pa.concat_tables(
        run.folder.read_shard(UTTERANCES_STAGE, index)[0].select(columns) for index in range(n_shards)
    )
    ids = [str(utterance_id) for utterance_id in written.column("utterance_id").to_pylist()]
    found = find_duplicates(
        ids,
        [str(text) for text in written.column("text").to_pylist()],
        run.inputs.models.open_encoder(),
        similarity=run.recipe.duplicates.similarity,
    )
    position = {utterance_id: row for row, utterance_id in enumerate(ids)}
    rejected = [
        RejectedRow(
            planned_id=duplicate.row_id,
            stage=STAGE,
            gate="duplicates",
            reason=f"{duplicate.kind}_duplicate",
            detail=f"of {duplicate.kept_id}, cosine {duplicate.similarity:.4f}",
            label=written.column("intended")[position[duplicate.row_id]]["label"].as_py(),
            attempt=1,
            seed=written.column("seed")[position[duplicate.row_id]].as_py(),
            reply=written.column("text")[position[duplicate.row_id]].as_py(),
        )
        for duplicate in found
    ]
    dropped = {row.planned_id for row in rejected}
    kept = [utterance_id for utterance_id in ids if utterance_id not in dropped]
    run.progress.advance(STAGE, kept=len(kept), rejected=len(rejected))
    return run.folder.write_shard(
        STAGE,
        0,
        planned=len(ids),
        kept=pa.table({"utterance_id": pa.array(kept, pa.string())}, schema=KEPT),
        rejected=to_table(rejected, REJECTED),
    )
