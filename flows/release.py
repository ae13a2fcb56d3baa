# SPDX-License-Identifier: Apache-2.0
"""The release: final tables judged, written, described and vouched for, in that order."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flows.atomic import write_bytes
from flows.card import render_card
from flows.croissant import render_croissant
from flows.dialogue_rounds import Talked
from flows.dialogues import STAGE as DIALOGUES_STAGE
from flows.done_records import AccountingError
from flows.final_tables import is_finished
from flows.judgement import SPLITS, judge_release, silent_clips
from flows.manifest import write_manifest, write_release_tables
from flows.meter import StageTime
from flows.plan_file import compare_plan
from flows.quality import measure_quality
from flows.quotas import Filled
from flows.recordings import record_dialogues
from flows.run_identity import CROISSANT
from flows.runs import Run
from flows.speech import STAGE as SPEECH_STAGE
from flows.speech import Spoken, known_as_sound, with_voices
from flows.spending import Outcome
from flows.summary import summary, usage_of
from flows.told import SUMMARY, read_told
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.clip_quality import clip_quality
from validators.dialogue_quality import dialogue_quality
from validators.errors import GateError
from validators.tables import reasons_table, yield_table

JUDGEMENT = "judgement.json"
CONFIG = "utterances"
DIALOGUES_CONFIG = "dialogues"
CLIPS_CONFIG = "clips"
RECORDINGS_CONFIG = "recordings"
ARCHIVES = "clips_webdataset"


@dataclass(frozen=True)
class Release:
    """What a run made, as the person who ran it wants to see it."""

    folder: Path
    planned: int
    kept: int
    rejected: int
    short: Mapping[str, str]
    """Label -> why it has fewer rows than its quota."""
    rounds: int
    targets: Mapping[str, int]
    yields: pd.DataFrame
    reasons: pd.DataFrame
    dialogues: Talked | None
    """What became of the dialogues; None where the recipe wants none."""
    clips: Spoken | None
    """What became of the clips; None where the recipe wants none."""
    usage: Mapping[str, float]
    """Calls, stored replies used, tokens, seconds: of this process alone, empty if it had nothing to do."""
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    """What each stage took in this process."""
    plan: Mapping[str, object] = field(default_factory=dict)
    """What was predicted and what came of it; empty where there was nothing to do."""


def close_run(
    run: Run,
    filled: Filled,
    tables: tuple[pa.Table, pa.Table],
    talked: Talked | None = None,
    spoken: Spoken | None = None,
) -> Release:
    """Judge the final tables and write the release; the manifest comes last, so that its presence means success.

    A release that lies there whole is left as it is.
    """
    kept, rejected = tables
    finished = is_finished(run)
    told = read_told(run.folder) if finished else None
    short = told.short if told else filled.short
    if talked is not None and spoken is not None:
        talked = replace(talked, kept=with_voices(talked.kept, spoken))
    release = _describe(run, filled, short, kept, rejected, talked, spoken)
    if finished:
        return release
    run.outcomes = _outcomes(filled, kept, talked, spoken)
    with run.timed("release", slots=0):
        return _make_release(run, filled, release, (kept, rejected, talked, spoken))


def _make_release(
    run: Run,
    filled: Filled,
    release: Release,
    parts: tuple[pa.Table, pa.Table, Talked | None, Spoken | None],
) -> Release:
    kept, rejected, talked, spoken = parts
    figures = measure_quality(run, filled, kept, rejected)
    if talked is not None:
        figures["dialogues"] = dialogue_quality(
            talked.planned, talked.kept.to_pandas(), talked.rejected.to_pandas(), talked.counts
        )
    if spoken is not None:
        labels = {label.name: label for label in run.taxonomy.labels}
        figures["clips"] = clip_quality(spoken.planned, silent_clips(spoken), spoken.rejected.to_pandas(), labels)
    recordings = record_dialogues(talked.kept, spoken, seed=run.recipe.seed) if talked and spoken else None
    if recordings is not None:
        figures["clips"]["recordings"] = recordings.num_rows
    judgement = judge_release(run, filled, kept, rejected, figures, talked, spoken)
    _write_json(run.folder.quality, figures)
    _write_json(run.folder.work / JUDGEMENT, asdict(judgement))
    _write_json(run.folder.work / SUMMARY, summary(release))  # once more at the end: a release that fails has one too
    if not judgement.success:
        raise GateError(
            "The rows do not pass as a dataset: " + "; ".join(judgement.failures),
            where=str(run.folder.work / JUDGEMENT),
            next_step="read the rejected rows in work/; plan more rows, or lower the floors in the recipe",
        )
    if run.folder.mirror:
        run.folder.mirror.remove(run.folder.manifest)  # before the first file of the release changes
    tables = _tables(kept, talked, spoken, recordings)
    streams = bool(spoken and run.recipe.speech and run.recipe.speech.webdataset)
    archives = {ARCHIVES: _by_split(spoken.kept)} if spoken and streams else {}
    files = write_release_tables(run.folder, tables, archives)
    card = render_card(run, tables, release=release, figures=figures, checks=judgement.summary)
    write_bytes(run.folder.card, card.encode())
    write_bytes(run.folder.root / CROISSANT, render_croissant(run, tables, files, figures).encode())
    release = replace(release, stages=dict(run.times), plan=compare_plan(run))
    _write_json(run.folder.work / SUMMARY, summary(release))
    manifest = write_manifest(run.folder, files)
    if run.folder.mirror:
        run.folder.mirror.push_release(file.path for file in manifest.files)
    return release


def _outcomes(filled: Filled, kept: pa.Table, talked: Talked | None, spoken: Spoken | None) -> dict[str, Outcome]:
    """What became of the rows of each stage, for plans of the same recipe to learn from."""
    written_of = dict(Counter(row.intended.label for row in filled.rows))
    outcomes = {UTTERANCES_STAGE: Outcome(len(filled.rows), kept.num_rows, written_of, filled.accepted)}
    if talked is not None:
        outcomes[DIALOGUES_STAGE] = Outcome(len(talked.planned), talked.kept.num_rows)
    if spoken is not None:
        outcomes[SPEECH_STAGE] = Outcome(len(spoken.planned), spoken.kept.num_rows)
    return outcomes


def _tables(
    kept: pa.Table, talked: Talked | None, spoken: Spoken | None, recordings: pa.Table | None
) -> dict[str, dict[str, pa.Table]]:
    """The tables of the release by config and split; one without rows is left out, since a viewer cannot open it."""
    tables = {CONFIG: kept}
    if talked is not None:
        tables[DIALOGUES_CONFIG] = talked.kept
    if spoken is not None:
        tables[CLIPS_CONFIG] = known_as_sound(spoken.kept)
    if recordings is not None:
        tables[RECORDINGS_CONFIG] = known_as_sound(recordings)
    return {config: _by_split(table) for config, table in tables.items() if table.num_rows}


def _by_split(table: pa.Table) -> dict[str, pa.Table]:
    return {split: part for split in SPLITS if (part := table.filter(pc.field("split") == split)).num_rows}


def _describe(  # noqa: PLR0917 - what a run made, part by part
    run: Run,
    filled: Filled,
    short: Mapping[str, str],
    kept: pa.Table,
    rejected: pa.Table,
    talked: Talked | None,
    spoken: Spoken | None,
) -> Release:
    if spoken and len(spoken.planned) != spoken.kept.num_rows + spoken.rejected.num_rows:
        raise AccountingError(
            f"{len(spoken.planned)} clips were planned, but {spoken.kept.num_rows} kept and "
            f"{spoken.rejected.num_rows} rejected",
            where=str(run.folder.root),
            next_step="this is a bug; the shards of the stages are whole, the release was not written",
        )
    if talked and len(talked.planned) != talked.kept.num_rows + talked.rejected.num_rows:
        raise AccountingError(
            f"{len(talked.planned)} dialogues were planned, but {talked.kept.num_rows} kept and "
            f"{talked.rejected.num_rows} rejected",
            where=str(run.folder.root),
            next_step="this is a bug; the shards of the stages are whole, the release was not written",
        )
    if len(filled.rows) != kept.num_rows + rejected.num_rows:
        raise AccountingError(
            f"{len(filled.rows)} rows were planned, but {kept.num_rows} kept and {rejected.num_rows} rejected",
            where=str(run.folder.root),
            next_step="this is a bug; the shards of the stages are whole, the release was not written",
        )
    planned = pd.DataFrame({"intended_label": [row.intended.label for row in filled.rows]}, dtype=object)
    return Release(
        folder=run.folder.root,
        planned=len(filled.rows),
        kept=kept.num_rows,
        rejected=rejected.num_rows,
        short=dict(short),
        rounds=len(filled.rounds),
        targets=dict(filled.targets),
        yields=yield_table(planned, kept.to_pandas(), rejected.to_pandas()),
        reasons=reasons_table(rejected.to_pandas()),
        dialogues=talked,
        clips=spoken,
        usage=usage_of(run, kept.num_rows),
        stages=dict(run.times),
    )


def _write_json(path: Path, content: object) -> None:
    write_bytes(path, json.dumps(content, indent=1, ensure_ascii=False, default=str).encode() + b"\n")
