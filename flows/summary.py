# SPDX-License-Identifier: Apache-2.0
"""The figures of a run as plain JSON: work/summary.json, `build --json`, and what the end of a run prints."""

import json
from typing import TYPE_CHECKING

from flows.dialogue_rounds import Talked
from flows.evidence import STAGE as EVIDENCE_STAGE
from flows.meter import StageTime
from flows.runs import Run
from flows.speech import Spoken
from flows.utterances import STAGE as UTTERANCES_STAGE
from validators.tables import reasons_table

if TYPE_CHECKING:
    from flows.release import Release


def summary(release: "Release") -> dict[str, object]:
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
        "stages": {stage: took.figures() for stage, took in release.stages.items()},
        **({"plan": dict(release.plan)} if release.plan else {}),
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


def usage_of(run: Run, kept: int) -> dict[str, float]:
    """What this command spent on all its engines, and over all commands of the run what a kept row cost."""
    usage, reader = run.usage.writer, run.usage.reader
    if not usage.calls + usage.hits:
        return {}
    text = sum((run.times.get(stage, StageTime()) for stage in (EVIDENCE_STAGE, UTTERANCES_STAGE)), StageTime())
    spent = run.spent
    return {
        "calls": usage.calls,
        "stored_replies": usage.hits,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "model_s": round(run.usage.load.busy_s, 1),
        "passages_read": reader.passages,
        "reader_s": round(reader.busy_s, 1),
        "text_stages_s": round(text.wall_s, 1),
        "share_outside_model": round(1 - text.engine_share, 4) if text.wall_s and usage.calls else 0.0,
        "reader_share": round(reader.busy_s / text.wall_s, 4) if text.wall_s else 0.0,
        "calls_of_all_commands": spent.calls,
        "kept_per_call": round(kept / spent.calls, 4) if spent.calls else 0.0,
        "tokens_per_kept_row": round(spent.tokens / kept, 1) if kept else 0.0,
        "seconds_per_kept_row": round(text.wall_s / kept, 2) if kept else 0.0,
        **{f"{stage}_s": round(took.wall_s, 1) for stage, took in run.times.items()},
    }
