# SPDX-License-Identifier: Apache-2.0
"""The duplicate stage: after each round, its rows against each other, those of earlier rounds and earlier versions.

Rows of earlier rounds and versions stay, so they are compared with new ones alone; their vectors lie beside their ids,
so that each row is encoded once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.done_records import DoneRecord
from flows.partitioned import FOLDER, PartitionedSearch
from flows.runs import Run
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.duplicates import Duplicate, Settled, encode, find_duplicates
from validators.records import RejectedRow
from validators.schemas import REJECTED, to_table

STAGE = "duplicates"
UNIQUE = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("vector", pa.large_list(pa.float32()), nullable=False),
    ]
)


class Written(NamedTuple):
    """A row of a round, as it is compared, and named where it is rejected."""

    text: str
    label: str
    seed: int


def drop_duplicates(run: Run, number: int, shards: Sequence[int]) -> DoneRecord:
    """Keep the rows of a round that repeat no other; `shards` are those of the round."""
    columns = ["utterance_id", "text", "intended", "seed"]
    written = {
        row["utterance_id"]: Written(row["text"], row["intended"]["label"], row["seed"])
        for index in shards
        for row in run.folder.read_kept(UTTERANCES_STAGE, index, columns).to_pylist()
    }
    return keep_unrepeated(run, STAGE, number, written, run.inputs.earlier.utterances)


def keep_unrepeated(
    run: Run, stage: str, number: int, written: Mapping[str, Written], earlier: Mapping[str, str]
) -> DoneRecord:
    """Keep the rows that repeat no other, of any stage; each dropped row names the one it repeats and how closely.

    Rows of earlier versions are named `<number of the version>/<id>`.
    """
    repeated, stay = find_duplicates(
        list(written),
        [row.text for row in written.values()],
        run.inputs.models.open_encoder(),
        similarity=run.recipe.duplicates.similarity,
        settled=_settled(run, stage, number, earlier),
        large=PartitionedSearch(run.folder.work / FOLDER),
    )
    rejected = [_repeated_row(duplicate, stage, written[duplicate.row_id]) for duplicate in repeated]
    run.progress.advance(stage, kept=len(stay.ids), rejected=len(rejected))
    return run.folder.write_shard(
        stage, number, planned=len(written), kept=_to_table(stay), rejected=to_table(rejected, REJECTED)
    )


def unrepeated_ids(run: Run, stage: str, rounds: Iterable[int]) -> "pa.Array[pa.StringScalar]":
    """The ids of the rows that some rounds kept."""
    kept = [run.folder.read_kept(stage, number, ["row_id"]) for number in rounds]
    return pa.concat_tables([UNIQUE.empty_table().select(["row_id"]), *kept]).column("row_id").combine_chunks()


def _repeated_row(duplicate: Duplicate, stage: str, row: Written) -> RejectedRow:
    return RejectedRow(
        planned_id=duplicate.row_id,
        stage=stage,
        gate="duplicates",
        reason=f"{duplicate.kind}_duplicate",
        detail=f"of {duplicate.kept_id}, cosine {duplicate.similarity:.4f}",
        label=row.label,
        attempt=1,
        seed=row.seed,
        reply=row.text,
    )


def _settled(run: Run, stage: str, number: int, earlier: Mapping[str, str]) -> Settled:
    """The rows of earlier versions, and those that earlier rounds kept."""
    tables = [run.folder.read_kept(stage, before) for before in range(number)]
    if earlier:
        tables.insert(0, _earlier_rows(run, f"{stage}_earlier", earlier))
    table = pa.concat_tables([UNIQUE.empty_table(), *tables])
    ids, texts = ([str(value) for value in table.column(name).to_pylist()] for name in ("row_id", "text"))
    vectors = pc.list_flatten(table.column("vector")).to_numpy()
    return Settled(ids, texts, vectors.reshape(len(ids), -1) if ids else vectors.reshape(0, 0))


def _earlier_rows(run: Run, stage: str, earlier: Mapping[str, str]) -> pa.Table:
    """The rows of earlier versions with their vectors, made in the first round."""
    if run.folder.done(stage, 0) is None:
        ids, texts = list(earlier), list(earlier.values())
        rows = Settled(ids, texts, encode(ids, texts, run.inputs.models.open_encoder()))
        run.folder.write_shard(stage, 0, planned=len(ids), kept=_to_table(rows), rejected=REJECTED.empty_table())
    return run.folder.read_kept(stage, 0)


def _to_table(rows: Settled) -> pa.Table:
    n_rows, dimensions = rows.vectors.shape
    vectors = pa.LargeListArray.from_arrays(
        pa.array(np.arange(n_rows + 1) * dimensions, pa.int64()), pa.array(rows.vectors.reshape(-1), pa.float32())
    )
    columns = [pa.array(rows.ids, pa.string()), pa.array(rows.texts, pa.string()), vectors]
    return pa.Table.from_arrays(columns, schema=UNIQUE)
