# SPDX-License-Identifier: Apache-2.0
"""What a recipe takes in calls, tokens, time and disk: the yields of one row times the rows that its quotas need."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flows.beside import cores_here, has_room
from flows.dialogues import STAGE as DIALOGUES
from flows.evidence import STAGE as EVIDENCE
from flows.runs import Inputs
from flows.shards_at_once import LEAST, at_once_by_stage
from flows.speech import STAGE as SPEECH
from flows.utterances import STAGE as UTTERANCES
from flows.yields import UnitYield, Yields, builtin_yields, sections_asked

SPREAD = 4.0  # labels differ in how often the reader hears them: a beta distribution as wide as that of four trials
STEPS = 200  # of the integral over it
START_S = 15.0  # Prefect's server, models and encoder, on two cores
RELEASE_S = 12.0  # figures, Great Expectations, card
RELEASE_ROWS_PER_S = 2000.0
FILE_BYTES = 14_000  # of a shard's three files before its rows: Parquet footers with their schemas, the done-record
ROW_BYTES = 700  # of a written row as Parquet, in its shard and in the release
DIALOGUE_BYTES = 3_500
VECTOR_BYTES = 1_440  # of MiniLM's 384 numbers, which hardly compress; those of the scripted encoder are mostly zeros
REPLY_BYTES = 200  # of a stored reply: keys twice, checksum
BYTES_PER_TOKEN = 4.2  # of its text
READING_BYTES = 420  # stored, of one passage
READINGS = 1.1  # for each call: a line is read once, a rewriting twice, what a rule rejects not at all
FIXED_BYTES = 250_000  # card, croissant.json, quality.json, judgement, a stage's first files


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What a stage takes: `units` written, `kept` that count, `stays` in the release."""

    units: float
    kept: float
    stays: float
    calls: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    n_bytes: float = 0.0

    def figures(self) -> dict[str, float]:
        """The figures as plain JSON."""
        return {
            "written": round(self.units),
            "kept": round(self.stays),
            "calls": round(self.calls),
            "prompt_tokens": round(self.prompt_tokens),
            "tokens_written": round(self.completion_tokens),
            "minutes": round(self.seconds / 60, 1),
        }


def estimate(inputs: Inputs, yields: Yields | None = None) -> dict[str, object]:
    """Reckon what a whole run takes, within its budget; by built-in figures where no yields are given."""
    yields = yields or builtin_yields(inputs)
    budget = _Budget(inputs)
    stages = {EVIDENCE: budget.cut(EVIDENCE, _times(sections_asked(inputs), yields.of[EVIDENCE]))}
    stages[UTTERANCES] = rows = budget.cut(UTTERANCES, _utterances(inputs, yields.of[UTTERANCES]))
    if inputs.recipe.dialogues:
        stages[DIALOGUES] = budget.cut(DIALOGUES, _dialogues(inputs, yields.of[DIALOGUES]))
    beside_s = 0.0
    if role := inputs.recipe.speech:
        of_rows = rows.stays if "utterances" in role.of else 0.0
        talked = "dialogues" in role.of and DIALOGUES in stages
        of_turns = stages[DIALOGUES].stays * _mean_turns(inputs) if talked else 0.0
        clips = _times((of_rows + of_turns) * (1 + len(role.renderings)), yields.of[SPEECH])
        stages[SPEECH] = budget.cut(SPEECH, clips)
        if has_room(inputs.recipe, cores_here()) and clips.units:
            beside_s = min(stages[DIALOGUES].seconds, stages[SPEECH].seconds * of_rows / (of_rows + of_turns))
    seconds = START_S + sum(stage.seconds for stage in stages.values()) - beside_s
    seconds += RELEASE_S + sum(stage.stays for stage in stages.values()) / RELEASE_ROWS_PER_S
    return {
        "source": yields.source,
        "stories": len(inputs.stories),
        "sections_asked": sections_asked(inputs),
        "rows_wanted": inputs.recipe.utterances.rows,
        **totals(stages, seconds=seconds, n_bytes=_bytes(inputs, stages)),
        "stages": {name: stage.figures() for name, stage in stages.items() if stage.units},
    }


def totals(stages: Mapping[str, StageEstimate], *, seconds: float, n_bytes: float) -> dict[str, float]:
    """The figures that are compared with what a run took."""
    return {
        "rows_written": round(stages[UTTERANCES].units),
        "rows_kept": round(stages[UTTERANCES].stays),
        **({"dialogues_written": round(stages[DIALOGUES].units)} if DIALOGUES in stages else {}),
        **({"dialogues_kept": round(stages[DIALOGUES].stays, 1)} if DIALOGUES in stages else {}),
        **({"clips_made": round(stages[SPEECH].units)} if SPEECH in stages else {}),
        "model_calls": round(sum(stage.calls for stage in stages.values())),
        "prompt_tokens": round(sum(stage.prompt_tokens for stage in stages.values())),
        "tokens_written": round(sum(stage.completion_tokens for stage in stages.values())),
        "minutes": round(seconds / 60, 1),
        "megabytes_on_disk": round(n_bytes / 1e6, 1),
    }


def _utterances(inputs: Inputs, one: UnitYield) -> StageEstimate:
    """The rows that are written until the quotas are met or their tries used up, label by label."""
    role = inputs.recipe.utterances
    weights = dict(role.labels) if role.labels else dict.fromkeys(inputs.taxonomy.names, 1.0)
    total = sum(weights.values())
    written = kept = 0.0
    for label, weight in weights.items():
        target = role.rows * weight / total
        share = one.kept_of.get(label)
        needed, reached = _until(one.kept, role.tries) if share is None else _until_exact(share, role.tries)
        written += target * needed
        kept += target * reached
    stage = _times(written, one)
    return StageEstimate(
        stage.units, kept, stage.stays, stage.calls, stage.prompt_tokens, stage.completion_tokens, stage.seconds
    )


def _dialogues(inputs: Inputs, one: UnitYield) -> StageEstimate:
    role = inputs.recipe.dialogues
    if role is None:
        raise TypeError("the recipe wants no dialogues")
    needed, _ = _until_exact(one.kept, role.tries)
    return _times(role.rows * needed, one)


def _until_exact(share: float, tries: int) -> tuple[float, float]:
    """How many are written for each that is wanted, and how many of it are had, where so large a share is kept."""
    written = min(1 / share, float(tries)) if share > 0 else float(tries)
    return written, min(1.0, written * share)


def _until(share: float, tries: int) -> tuple[float, float]:
    """The same over labels that differ: a share that is low on average is far too low for some, whose tries run out."""
    share = min(max(share, 0.02), 0.98)
    points = (np.arange(STEPS) + 0.5) / STEPS
    density = points ** (share * SPREAD - 1) * (1 - points) ** ((1 - share) * SPREAD - 1)
    density /= density.sum()
    written = np.minimum(1 / points, tries)
    return float((density * written).sum()), float((density * np.minimum(1.0, written * points)).sum())


def _times(units: float, one: UnitYield) -> StageEstimate:
    return StageEstimate(
        units=units,
        kept=units * one.kept,
        stays=units * one.stays,
        calls=units * one.calls,
        prompt_tokens=units * one.prompt_tokens,
        completion_tokens=units * one.completion_tokens,
        seconds=units * one.seconds,
        n_bytes=units * one.stays * one.size,
    )


def _part(stage: StageEstimate, share: float) -> StageEstimate:
    return StageEstimate(
        stage.units * share,
        stage.kept * share,
        stage.stays * share,
        stage.calls * share,
        stage.prompt_tokens * share,
        stage.completion_tokens * share,
        stage.seconds * share,
        stage.n_bytes * share,
    )


class _Budget:
    """Cuts stage after stage where a budget ends: it is looked at before each shard, and what was begun is finished."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._spent_s = self._calls = self._tokens = 0.0

    def cut(self, name: str, stage: StageEstimate) -> StageEstimate:
        """What of a stage is begun before its budget is spent."""
        inputs, budget, share = self._inputs, self._inputs.recipe.budget, 1.0
        if name != EVIDENCE and stage.units:
            at_once = at_once_by_stage(inputs.recipe, inputs.recipe.writer.slots).get(name, LEAST)
            begun = min(1.0, at_once * _shard_rows(inputs, name) / 2 / stage.units)  # and then finished
            tokens = stage.prompt_tokens + stage.completion_tokens
            limits = (
                (stage.seconds, 60 * limit if (limit := budget.minutes_of(name)) else None),
                (stage.seconds, 60 * budget.minutes - self._spent_s if budget.minutes else None),
                (stage.calls, budget.calls - self._calls if budget.calls else None),
                (tokens, budget.tokens - self._tokens if budget.tokens else None),
            )
            shares = [max(0.0, left) / takes + begun for takes, left in limits if left is not None and takes > 0]
            share = min([1.0, *shares])
        part = _part(stage, share)
        self._spent_s += part.seconds
        self._calls += part.calls
        self._tokens += part.prompt_tokens + part.completion_tokens
        return part


def _shard_rows(inputs: Inputs, stage: str) -> int:
    recipe = inputs.recipe
    if stage == DIALOGUES and recipe.dialogues:
        return recipe.dialogues.shard_rows
    return recipe.speech.shard_rows if stage == SPEECH and recipe.speech else recipe.shard_rows


def _mean_turns(inputs: Inputs) -> float:
    turns = inputs.recipe.dialogues.turns if inputs.recipe.dialogues else {}
    return sum(length * weight for length, weight in turns.items()) / max(1e-9, sum(turns.values()))


def _bytes(inputs: Inputs, stages: Mapping[str, StageEstimate]) -> float:
    """The whole folder: shards, replies and readings, and the release."""
    shards = sum(-(-stage.units // _shard_rows(inputs, name)) for name, stage in stages.items())
    calls = sum(stage.calls for stage in stages.values())
    replies = calls * REPLY_BYTES + BYTES_PER_TOKEN * sum(stage.completion_tokens for stage in stages.values())
    if inputs.recipe.reader.backend != "none":
        replies += READINGS * calls * READING_BYTES
    rows = ROW_BYTES * stages[UTTERANCES].units
    rows += DIALOGUE_BYTES * stages[DIALOGUES].units if DIALOGUES in stages else 0.0
    if inputs.recipe.encoder.backend != "hashed":
        rows += VECTOR_BYTES * sum(stages[name].kept for name in (UTTERANCES, DIALOGUES) if name in stages)
    sound = 2 * stages[SPEECH].n_bytes if SPEECH in stages else 0.0  # in its shard and in the release
    if inputs.recipe.speech and inputs.recipe.speech.webdataset:
        sound *= 1.5
    return FIXED_BYTES + shards * FILE_BYTES + replies + rows + sound
