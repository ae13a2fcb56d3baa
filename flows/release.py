# SPDX-License-Identifier: Apache-2.0
"""The release: final tables judged, written, described and vouched for, in that order."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flows.atomic import storage_errors, write_bytes
from flows.card import render_card
from flows.croissant import render_croissant
from flows.dialogue_rounds import Talked
from flows.done_records import AccountingError
from flows.duplicates import STAGE as DUPLICATES_STAGE
from flows.judgement import SPLITS, judge_release, silent_clips
from flows.manifest import read_manifest, verify_release, write_manifest, write_release_tables
from flows.quality import measure_quality
from flows.quotas import Filled
from flows.recordings import record_dialogues
from flows.run_identity import CROISSANT
from flows.runs import Run
from flows.speech import Spoken, known_as_sound, with_voices
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.clip_quality import clip_quality
from validators.dialogue_quality import dialogue_quality
from validators.errors import GateError
from validators.schemas import REJECTED, UTTERANCES
from validators.tables import reasons_table, yield_table

JUDGEMENT = "judgement.json"
SUMMARY = "summary.json"
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


def close_run(run: Run, filled: Filled, talked: Talked | None = None, spoken: Spoken | None = None) -> Release:
    """Judge the final tables and write the release; the manifest comes last, so that its presence means success.

    A release that lies there whole is left as it is.
    """
    kept, rejected = final_tables(run, filled)
    finished = is_finished(run)
    short = _read_short(run) if finished else filled.short
    if talked is not None and spoken is not None:
        talked = replace(talked, kept=with_voices(talked.kept, spoken))
    release = _describe(run, filled, short, kept, rejected, talked, spoken)
    if finished:
        return release
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
    _write_json(run.folder.work / SUMMARY, summary(release))
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
    manifest = write_manifest(run.folder, files)
    if run.folder.mirror:
        run.folder.mirror.push_release(file.path for file in manifest.files)
    return release


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


def is_finished(run: Run) -> bool:
    """Whether the folder holds the whole release of this run."""
    return (
        run.folder.manifest.exists()
        and not verify_release(run.folder.root)
        and read_manifest(run.folder.root).fingerprint == run.folder.fingerprint
    )


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
        usage=_usage(run, kept.num_rows),
    )


def final_tables(run: Run, filled: Filled) -> tuple[pa.Table, pa.Table]:
    """Put together the rows that survived all stages, and all that did not, each in the order of their ids."""
    shards = [run.folder.read_shard(UTTERANCES_STAGE, index) for index in filled.shards]
    judged = [run.folder.read_shard(DUPLICATES_STAGE, one.number) for one in filled.rounds]
    written = pa.concat_tables([UTTERANCES.empty_table(), *(kept for kept, _ in shards)])
    unique = pa.chunked_array([chunk for ids, _ in judged for chunk in ids.column("utterance_id").chunks], pa.string())
    kept = written.filter(pc.field("utterance_id").isin(unique.combine_chunks()))
    rejected = pa.concat_tables(
        [REJECTED.empty_table(), *(table for _, table in shards), *(repeated for _, repeated in judged)]
    )
    return (
        kept.sort_by("utterance_id").cast(UTTERANCES),
        rejected.sort_by("planned_id").cast(REJECTED),
    )


def summary(release: Release) -> dict[str, object]:
    """The figures of a run as plain JSON."""
    return {
        "planned": release.planned,
        "kept": release.kept,
        "rejected": release.rejected,
        "rounds": release.rounds,
        "targets": dict(release.targets),
        "short": dict(release.short),
        "labels": json.loads(release.yields.to_json(orient="records")),
        "reasons": json.loads(release.reasons.to_json(orient="records")),
        "usage": dict(release.usage),
        **({"dialogues": talked_summary(release.dialogues)} if release.dialogues else {}),
        **({"clips": spoken_summary(release.clips)} if release.clips else {}),
    }


def spoken_summary(spoken: Spoken) -> dict[str, object]:
    """What became of the clips, as plain JSON."""
    return {
        "planned": len(spoken.planned),
        "kept": spoken.kept.num_rows,
        "rejected": spoken.rejected.num_rows,
        "short": spoken.short,
        "reasons": json.loads(reasons_table(spoken.rejected.to_pandas()).to_json(orient="records")),
    }


def talked_summary(talked: Talked) -> dict[str, object]:
    """What became of the dialogues, as plain JSON."""
    return {
        "wanted": talked.wanted,
        "planned": len(talked.planned),
        "kept": talked.kept.num_rows,
        "rejected": talked.rejected.num_rows,
        "rounds": talked.rounds,
        "short": talked.short,
        "reasons": json.loads(reasons_table(talked.rejected.to_pandas()).to_json(orient="records")),
    }


def _usage(run: Run, kept: int) -> dict[str, float]:
    """What this command spent, and over all commands of the run what a kept row cost."""
    usage, reader = run.usage.writer, run.usage.reader
    if not usage.calls + usage.hits:
        return {}
    text_s = sum(run.stage_s.get(stage, 0.0) for stage in ("evidence", UTTERANCES_STAGE))
    spent = run.spent
    return {
        "calls": usage.calls,
        "stored_replies": usage.hits,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "model_s": round(usage.busy_s, 1),
        "passages_read": reader.passages,
        "reader_s": round(reader.busy_s, 1),
        "text_stages_s": round(text_s, 1),
        "share_outside_model": round(max(0.0, 1 - usage.busy_s / text_s), 4) if text_s and usage.calls else 0.0,
        "reader_share": round(reader.busy_s / text_s, 4) if text_s else 0.0,
        "calls_of_all_commands": spent.calls,
        "kept_per_call": round(kept / spent.calls, 4) if spent.calls else 0.0,
        "tokens_per_kept_row": round(spent.tokens / kept, 1) if kept else 0.0,
        "seconds_per_kept_row": round(text_s / kept, 2) if kept else 0.0,
        **{f"{stage}_s": round(seconds, 1) for stage, seconds in run.stage_s.items()},
    }


def _read_short(run: Run) -> dict[str, str]:
    """Why labels fell short, as it was found when the release was made."""
    with storage_errors(run.folder.work / SUMMARY):
        return dict(json.loads((run.folder.work / SUMMARY).read_bytes())["short"])


def _write_json(path: Path, content: object) -> None:
    write_bytes(path, json.dumps(content, indent=1, ensure_ascii=False, default=str).encode() + b"\n")
