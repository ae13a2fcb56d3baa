# SPDX-License-Identifier: Apache-2.0
"""The utterance stage: planned rows, shard by shard, written side by side."""

from collections.abc import Mapping, Sequence

from flows.run_folder import DoneRecord
from flows.runs import Run
from generators.plans import Plan, PlanSettings, plan_utterances
from generators.prompts import prompts_sha256
from generators.utterances import Scene, WritingSettings, Written, write_utterance
from validators.errors import InputError
from validators.gates import GateBounds
from validators.records import Evidence, PlannedUtterance, RejectedRow, Split, Utterance
from validators.schemas import REJECTED, UTTERANCES, to_table

STAGE = "utterances"


def plan_rows(run: Run, evidence: Sequence[Evidence]) -> Plan:
    """Plan what to ask for; the same evidence and recipe give the same plan, so it is not stored."""
    recipe = run.recipe.utterances
    plan = plan_utterances(
        evidence,
        PlanSettings(
            rows=recipe.rows,
            contextual_rows=recipe.rows if recipe.contextual_rows is None else recipe.contextual_rows,
            weights=_weights(run),
            neutral=run.taxonomy.neutral,
            intensities=recipe.intensities,
            shard_rows=run.recipe.shard_rows,
            seed=run.recipe.seed,
        ),
    )
    if not plan.rows:
        raise InputError(
            "The evidence feeds none of the emotions that the recipe asks for.",
            where=str(run.folder.work / "evidence"),
            next_step="ask for other labels in utterances.labels, or for more sections in stories.sections",
        )
    return plan


def shards_of(run: Run, plan: Plan) -> list[tuple[PlannedUtterance, ...]]:
    """The planned rows, cut into shards as their ids say."""
    n_rows = run.recipe.shard_rows
    return [plan.rows[start : start + n_rows] for start in range(0, len(plan.rows), n_rows)]


def make_utterances(
    run: Run, index: int, planned: Sequence[PlannedUtterance], splits: Mapping[str, Split]
) -> DoneRecord:
    """Write the rows of one shard; each ends as a kept or a rejected one, in the order of the plan."""
    settings = WritingSettings(
        candidates=run.recipe.utterances.candidates,
        temperature=run.recipe.writer.temperature,
        bounds=GateBounds(
            min_words=run.recipe.gates.min_words,
            max_words=run.recipe.gates.max_words,
            copied_ngram=run.recipe.gates.copied_ngram,
        ),
    )
    ended: dict[int, Utterance | RejectedRow] = {}
    conversations = (write_utterance(_scene(run, row, settings)) for row in planned)
    for position, written in run.side_by_side(STAGE, conversations):
        row = planned[position]
        is_kept = isinstance(written, Written)
        ended[position] = (
            _utterance(run, row, written, splits[row.story_id]) if isinstance(written, Written) else written
        )
        run.advance(STAGE, kept=int(is_kept), rejected=int(not is_kept))
    rows = [ended[position] for position in range(len(planned))]
    return run.folder.write_shard(
        STAGE,
        index,
        planned=len(planned),
        kept=to_table([row for row in rows if isinstance(row, Utterance)], UTTERANCES),
        rejected=to_table([row for row in rows if isinstance(row, RejectedRow)], REJECTED),
    )


def _scene(run: Run, row: PlannedUtterance, settings: WritingSettings) -> Scene:
    story = run.stories[row.story_id]
    return Scene(
        plan=row,
        section=story.sections[row.section],
        language=story.language,
        label=run.taxonomy.label(row.intended.label),
        is_neutral=row.intended.label == run.taxonomy.neutral,
        feelings=run.taxonomy.feelings,
        settings=settings,
    )


def _utterance(run: Run, row: PlannedUtterance, written: Written, split: Split) -> Utterance:
    story = run.stories[row.story_id]
    return Utterance(
        utterance_id=row.utterance_id,
        story_id=row.story_id,
        title=story.title,
        section=row.section,
        character=row.character,
        text=written.text,
        context=written.context,
        text_ambiguous=written.text_ambiguous,
        language=story.language,
        intended=row.intended.model_copy(update={"cause": written.cause}),
        manner=row.manner,
        canonical_label=run.taxonomy.label(row.intended.label).canonical,
        perceived=None,
        perceived_in_context=None,
        perceived_ambiguous=None,
        realised=None,
        attempts=written.attempts,
        writer=run.writer.model,
        writer_licence=run.inputs.models.writer_licence,
        reader=None,
        prompt_sha256=prompts_sha256(),
        seed=row.seed,
        split=split,
        source=story.source,
        source_licence=story.licence,
    )


def _weights(run: Run) -> dict[str, float]:
    """How the rows are shared among the labels: equally, or as the recipe says."""
    recipe = run.recipe.utterances
    weights = dict(recipe.labels) if recipe.labels else dict.fromkeys(run.taxonomy.names, 1.0)
    neutral = run.taxonomy.neutral
    if recipe.neutral_share is not None and neutral is not None:
        others = sum(weight for label, weight in weights.items() if label != neutral)
        weights[neutral] = others * recipe.neutral_share / (1 - recipe.neutral_share)
        if weights[neutral] == 0:
            del weights[neutral]
    return weights
