# SPDX-License-Identifier: Apache-2.0
"""The utterance stage: planned rows, shard by shard, written and read side by side."""

from collections import Counter
from collections.abc import Sequence

from flows.done_records import DoneRecord
from flows.runs import Run
from generators.prompts import prompts_sha256
from generators.scenes import Scene, WritingSettings, Written
from generators.utterances import write_utterance
from validators.gates import GateBounds
from validators.readings import Reading, RealisedRule
from validators.records import Perceived, PlannedUtterance, RejectedRow, Utterance
from validators.schemas import REJECTED, UTTERANCES, to_table

STAGE = "utterances"


def make_utterances(run: Run, index: int, planned: Sequence[PlannedUtterance]) -> DoneRecord:
    """Write and read the rows of one shard; each ends as a kept or a rejected one, in the order of the plan."""
    loop = run.recipe.loop
    settings = WritingSettings(
        candidates=run.recipe.utterances.candidates,
        temperature=run.recipe.writer.temperature,
        bounds=GateBounds(
            min_words=run.recipe.gates.min_words,
            max_words=run.recipe.gates.max_words,
            copied_ngram=run.recipe.gates.copied_ngram,
        ),
        rule=RealisedRule(loop.rank, loop.score) if run.reader else None,
        keep_misses_above=loop.keep_misses_above,
    )
    lost: Counter[str] = Counter()
    ended: dict[int, Utterance | RejectedRow] = {}
    conversations = (write_utterance(_scene(run, row, settings)) for row in planned)
    for position, written in run.side_by_side(STAGE, conversations):
        if isinstance(written, Written):
            ended[position] = _utterance(run, planned[position], written)
            lost.update([f"context_lost:{written.context_lost}"] if written.context_lost else [])
        else:
            ended[position] = written
        is_kept = isinstance(written, Written)
        run.advance(STAGE, kept=int(is_kept), rejected=int(not is_kept))
    rows = [ended[position] for position in range(len(planned))]
    return run.folder.write_shard(
        STAGE,
        index,
        planned=len(planned),
        kept=to_table([row for row in rows if isinstance(row, Utterance)], UTTERANCES),
        rejected=to_table([row for row in rows if isinstance(row, RejectedRow)], REJECTED),
        counts=lost,
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


def _utterance(run: Run, row: PlannedUtterance, written: Written) -> Utterance:
    story = run.stories[row.story_id]
    readings = written.readings
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
        perceived=_perceived(readings.line if readings else None),
        perceived_in_context=_perceived(readings.line_in_context if readings else None),
        perceived_ambiguous=_perceived(readings.ambiguous if readings else None),
        perceived_ambiguous_in_context=_perceived(readings.ambiguous_in_context if readings else None),
        realised=readings.realised if readings else None,
        realised_at_first=readings.realised_at_first if readings else None,
        attempts=written.attempts,
        writer=run.writer.model,
        writer_licence=run.inputs.models.writer_licence,
        reader=run.reader.model if run.reader else None,
        prompt_sha256=prompts_sha256(),
        seed=row.seed,
        split=row.split,
        source=story.source,
        source_licence=story.licence,
    )


def _perceived(reading: Reading | None) -> tuple[Perceived, ...] | None:
    return reading.perceived() if reading else None
