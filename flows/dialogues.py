# SPDX-License-Identifier: Apache-2.0
"""The dialogue stage: what a shard of planned dialogues becomes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from flows.dialogue_role import Dialogues
from flows.done_records import DoneRecord
from flows.runs import Run
from generators.dialogues.domains import builtin_domains
from generators.dialogues.scenes import DialogueScene, DialogueSettings, WrittenDialogue
from generators.dialogues.writing import Ended, write_dialogue
from generators.prompts import DIALOGUE_PROMPTS, prompts_sha256
from validators.dialogue_records import Dialogue, PlannedDialogue, Speaker
from validators.dialogue_schemas import DIALOGUES
from validators.gates import GateBounds
from validators.readings import RealisedRule
from validators.records import RejectedRow, Utterance
from validators.schemas import REJECTED, to_table

STAGE = "dialogues"
DOMAIN_SOURCE = "domain"
DOMAIN_LICENCE = "Apache-2.0"  # of the descriptions, which are this project's
LANGUAGE = "en"  # of the domains and their prompts


def make_dialogues(
    run: Run, role: Dialogues, index: int, planned: Sequence[PlannedDialogue], openings: Mapping[str, Utterance]
) -> DoneRecord:
    """Write, read and judge the dialogues of one shard; each ends as a kept or a rejected one, in order of the plan."""
    settings = _settings(run, role)
    ended: dict[int, Dialogue | RejectedRow] = {}
    counts: Counter[str] = Counter()
    conversations = (write_dialogue(_scene(run, row, settings, openings)) for row in planned)
    for position, outcome in run.side_by_side(STAGE, conversations):
        row = outcome.row
        is_kept = isinstance(row, WrittenDialogue)
        ended[position] = _dialogue(run, planned[position], row, openings) if isinstance(row, WrittenDialogue) else row
        counts += count_outcome(planned[position], outcome, judged=settings.judged)
        run.advance(STAGE, kept=int(is_kept), rejected=int(not is_kept))
    rows = [ended[position] for position in range(len(planned))]
    return run.folder.write_shard(
        STAGE,
        index,
        planned=len(planned),
        kept=to_table([row for row in rows if isinstance(row, Dialogue)], DIALOGUES),
        rejected=to_table([row for row in rows if isinstance(row, RejectedRow)], REJECTED),
        counts=counts,
    )


def _settings(run: Run, role: Dialogues) -> DialogueSettings:
    loop = run.recipe.loop
    return DialogueSettings(
        candidates=role.candidates,
        temperature=run.recipe.writer.temperature,
        bounds=GateBounds(
            min_words=role.min_words, max_words=role.max_words, copied_ngram=run.recipe.gates.copied_ngram
        ),
        encoder=run.inputs.models.open_encoder(),
        similarity=role.similarity,
        history_turns=role.history_turns,
        rule=RealisedRule(loop.rank, loop.score) if run.reader else None,
        adherence=role.adherence,
        judge=role.judge_writer,
        judged=role.judged,
    )


def _scene(
    run: Run, row: PlannedDialogue, settings: DialogueSettings, openings: Mapping[str, Utterance]
) -> DialogueScene:
    opening = openings[row.utterance_id] if row.utterance_id else None
    if opening:
        story = run.stories[opening.story_id]
        topic, language = story.sections[opening.section], story.language
    else:
        topic = next(domain.description for domain in builtin_domains() if domain.name == row.domain)
        language = LANGUAGE
    return DialogueScene(
        plan=row,
        topic=topic,
        language=language,
        labels={turn.label: run.taxonomy.label(turn.label) for turn in row.trajectory},
        neutral=run.taxonomy.neutral,
        settings=settings,
        opening=opening,
    )


def _dialogue(run: Run, row: PlannedDialogue, written: WrittenDialogue, openings: Mapping[str, Utterance]) -> Dialogue:
    story = run.stories[row.story_id] if row.story_id else None
    heard = [turn.realised for turn in written.turns if turn.realised is not None]
    judge = run.recipe.dialogues.judge_writer if run.recipe.dialogues else None
    # the first turn of a dialogue that grows from an utterance was written by that one's writer
    licences = [run.licence_of(name) for name in row.writers]
    return Dialogue(
        dialogue_id=row.dialogue_id,
        domain=row.domain,
        story_id=row.story_id,
        title=story.title if story else None,
        utterance_id=row.utterance_id,
        language=openings[row.utterance_id].language if row.utterance_id else LANGUAGE,
        situation=written.premise.situation,
        goal=written.premise.goal,
        speakers=tuple(
            Speaker(
                name=row.names[place],
                persona=written.premise.personas[place],
                relation=written.premise.relation,
                baseline=row.baselines[place],
                voice=None,
                writer=run.writers[row.writers[place]].model,
                writer_licence=licences[place],
            )
            for place in (0, 1)
        ),
        trajectory=row.trajectory,
        turns=written.turns,
        adherence=sum(heard) / len(heard) if heard else None,
        judged=written.judged,
        reader=run.reader.model if run.reader else None,
        judge=run.writers[judge].model if judge and written.judged else None,
        prompt_sha256=prompts_sha256(DIALOGUE_PROMPTS),
        seed=row.seed,
        split=row.split,
        source=story.source if story else DOMAIN_SOURCE,
        source_licence=story.licence if story else DOMAIN_LICENCE,
    )


def count_outcome(plan: PlannedDialogue, outcome: Ended, *, judged: float) -> Counter[str]:
    """Count what the tables cannot tell: the turns of rejected dialogues too, and where judge and rules agreed.

    turn/<n>/<what>, emotion/<label>/<what> and writer/<name>/<what> count the turns that were `written`, realised at
    `first` and `realised` in the end; utterances that open a dialogue are none of them.
    """
    counts: Counter[str] = Counter()
    for turn in outcome.turns:
        if turn.turn == 0 and plan.utterance_id:
            continue
        places = (f"turn/{turn.turn}", f"emotion/{turn.intended.label}", f"writer/{plan.writers[turn.speaker]}")
        for place in places:
            counts[f"{place}/written"] += 1
            counts[f"{place}/first"] += bool(turn.realised_at_first)
            counts[f"{place}/realised"] += bool(turn.realised)
    if outcome.judged is not None:
        said = "yes" if outcome.judged.mean >= judged else "no"
        counts[f"judge/{said}/rules/{'yes' if outcome.passed_rules else 'no'}"] += 1
    return counts
