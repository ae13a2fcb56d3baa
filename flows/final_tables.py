# SPDX-License-Identifier: Apache-2.0
"""The rows of a run as its release will hold them, read from the shards; and whether that release is there."""

import pyarrow as pa
import pyarrow.compute as pc

from flows.duplicates import STAGE as DUPLICATES_STAGE
from flows.duplicates import unrepeated_ids
from flows.manifest import read_manifest, verify_release
from flows.quotas import Filled
from flows.runs import Run
from flows.told import read_told
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.schemas import REJECTED, UTTERANCES


def is_finished(run: Run) -> bool:
    """Whether the folder holds the whole release of this run, with the summary and the plans that it was made by.

    Found so once, it is not hashed again.
    """
    run.has_release = run.has_release or (
        run.folder.manifest.exists()
        and not verify_release(run.folder.root)
        and read_manifest(run.folder.root).fingerprint == run.folder.fingerprint
        and (told := read_told(run.folder)) is not None
        and told.has_its_plans(run.folder)
    )
    return run.has_release


def final_tables(run: Run, filled: Filled) -> tuple[pa.Table, pa.Table]:
    """Put together the rows that survived all stages, and all that did not, each in the order of their ids."""
    shards = [run.folder.read_shard(UTTERANCES_STAGE, index) for index in filled.shards]
    repeated = [run.folder.read_rejected(DUPLICATES_STAGE, one.number) for one in filled.rounds]
    written = pa.concat_tables([UTTERANCES.empty_table(), *(kept for kept, _ in shards)])
    unique = unrepeated_ids(run, DUPLICATES_STAGE, [one.number for one in filled.rounds])
    kept = written.filter(pc.field("utterance_id").isin(unique))
    rejected = pa.concat_tables([REJECTED.empty_table(), *(table for _, table in shards), *repeated])
    return (
        kept.sort_by("utterance_id").cast(UTTERANCES),
        rejected.sort_by("planned_id").cast(REJECTED),
    )
