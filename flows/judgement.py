# SPDX-License-Identifier: Apache-2.0
"""What the final tables of a run must keep to, put together for the Great Expectations suite."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from flows.dialogue_rounds import Talked
from flows.quality import bounded_figures
from flows.quotas import Filled
from flows.runs import REASON_ROWS, Run
from flows.speech import Spoken
from validators.clip_checks import ClipTables
from validators.dialogue_checks import DialogueTables
from validators.dialogue_schemas import DIALOGUES
from validators.schemas import UTTERANCES
from validators.speech_schemas import CLIPS
from validators.suite_checks import ReleaseBounds
from validators.suites import ReleaseJudgement, judge_tables

SPLITS = ("train", "validation", "test")


def judge_release(  # noqa: PLR0917 - the final tables and what was measured on them
    run: Run,
    filled: Filled,
    kept: pa.Table,
    rejected: pa.Table,
    figures: Mapping[str, Any],
    talked: Talked | None = None,
    spoken: Spoken | None = None,
) -> ReleaseJudgement:
    """Run the Great Expectations suite over the final tables."""
    neutral = run.taxonomy.neutral
    bounds = ReleaseBounds(
        labels=run.taxonomy.names,
        columns=tuple(UTTERANCES.names),
        required=tuple(field.name for field in UTTERANCES if not field.nullable),
        planned_rows=len(filled.rows),
        min_kept_rows=run.recipe.floors.kept_rows,
        min_labels=run.recipe.floors.labels,
        splits=SPLITS,
        without_intensity=(neutral,) if neutral else (),
        measured=bounded_figures(run.recipe.floors, figures),
        max_reason_share=run.recipe.gates.max_reason_share if len(filled.rows) >= REASON_ROWS else 1.0,
    )
    may_lack = run.recipe.floors.kept_dialogues == 0
    dialogues = (
        None
        if talked is None or (may_lack and not talked.kept.num_rows)
        else DialogueTables(
            kept=talked.kept.to_pandas(),
            rejected=talked.rejected.to_pandas(),
            planned_rows=len(talked.planned),
            columns=tuple(DIALOGUES.names),
            min_kept_rows=run.recipe.floors.kept_dialogues,
        )
    )
    clips = (
        None
        if spoken is None
        else ClipTables(
            kept=silent_clips(spoken),
            rejected=spoken.rejected.to_pandas(),
            planned_rows=len(spoken.planned),
            columns=tuple(name for name in CLIPS.names if name != "audio"),
            texts=_splits_of_texts(kept, talked),
        )
    )
    return judge_tables(kept.to_pandas(), rejected.to_pandas(), bounds, dialogues, clips)


def silent_clips(spoken: Spoken) -> pd.DataFrame:
    """The kept clips without their sound."""
    return spoken.kept.drop_columns("audio").to_pandas()


def _splits_of_texts(
    utterances: pa.Table, talked: Talked | None
) -> dict[tuple[str | None, str | None, int | None], str]:
    splits: dict[tuple[str | None, str | None, int | None], str] = {
        (row["utterance_id"], None, None): row["split"]
        for row in utterances.select(["utterance_id", "split"]).to_pylist()
    }
    if talked is not None:
        for row in talked.kept.select(["dialogue_id", "split", "turns"]).to_pylist():
            splits |= {(None, row["dialogue_id"], turn["turn"]): row["split"] for turn in row["turns"]}
    return splits
