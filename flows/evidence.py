# SPDX-License-Identifier: Apache-2.0
"""The evidence stage: who of the characters has cause for which emotion, section by section."""

import hashlib
from collections.abc import Iterator

from flows.done_records import DoneRecord
from flows.runs import Inputs, Run
from generators.characters import list_characters
from generators.evidence import SectionEvidence, find_evidence
from generators.shares import row_seed
from validators.errors import InputError
from validators.records import Evidence, RejectedRow, Story
from validators.schemas import EVIDENCE, REJECTED, to_records, to_table
from validators.verdicts import Verdict

STAGE = "evidence"
LABELS = "labels"
"""The count that tells for which labels a shard was asked."""
CHARACTERS_TEMPERATURE = 0.2  # a list of names is looked up, not invented
EVIDENCE_TEMPERATURE = 0.6  # below, a small model gives the same two emotions to every section

Shard = list[tuple[Story, list[int]]]
"""Stories of a shard, each with the sections to ask."""


def evidence_shards(run: Run) -> list[Shard]:
    """Cut the sections that are to be asked into shards; a story is never cut in two, since it is asked once."""
    chosen = chosen_sections(run.inputs)
    shards: list[Shard] = []
    n_sections = run.recipe.shard_rows  # so that the first shard begins
    for story_id, sections in chosen.items():
        if n_sections >= run.recipe.shard_rows:
            shards.append([])
            n_sections = 0
        shards[-1].append((run.stories[story_id], sections))
        n_sections += len(sections)
    return shards


def make_evidence(run: Run, index: int, shard: Shard) -> DoneRecord:
    """Make one shard: pairs that are given with the stories, and pairs that the writer model finds."""
    origin = run.recipe.stories.evidence
    pairs: list[Evidence] = []
    rejected: list[RejectedRow] = []
    n_asked = n_fed = 0
    if origin != "model":
        pairs += [pair for story, sections in shard for pair in _given(story, sections)]
    if origin != "given":
        known: dict[str, list[str]] = {}
        unknown: dict[str, Verdict] = {}
        questions = (
            list_characters(story, seed=_seed(run, story), temperature=CHARACTERS_TEMPERATURE) for story, _ in shard
        )
        for position, (names, verdict, _) in run.side_by_side(STAGE, questions):
            story_id = shard[position][0].story_id
            known[story_id] = names
            if not verdict.accepted:
                unknown[story_id] = verdict
        asked = [(story, section) for story, sections in shard for section in sections]
        n_asked = len(asked)
        conversations = (
            find_evidence(
                story,
                section,
                known[story.story_id],
                wanted_labels(run),
                seed=_seed(run, story, section),
                temperature=EVIDENCE_TEMPERATURE,
            )
            for story, section in asked
        )
        found: dict[int, SectionEvidence] = {}
        for position, row in run.side_by_side(STAGE, conversations):
            found[position] = row
            run.advance(STAGE, kept=int(row.verdict.accepted), rejected=int(not row.verdict.accepted))
        for position in range(n_asked):
            row = found[position]
            if row.verdict.accepted:
                pairs += row.pairs
                n_fed += 1
            else:
                rejected.append(_rejected(row, unknown.get(row.story_id)))
    if n_asked != n_fed + len(rejected):
        raise AssertionError(f"{n_asked} sections asked, {n_fed} with evidence, {len(rejected)} rejected")
    return run.folder.write_shard(
        STAGE,
        index,
        planned=len(pairs) + len(rejected),
        kept=to_table(pairs, EVIDENCE),
        rejected=to_table(rejected, REJECTED),
        counts={
            "sections_asked": n_asked,
            "sections_with_evidence": n_fed,
            "pairs": len(pairs),
            LABELS: _asked_for(run),
        },
    )


def done_evidence(run: Run, index: int) -> DoneRecord | None:
    """The record of a shard that is done and was asked for the labels that are wanted now: quotas may change."""
    record = run.folder.done(STAGE, index)
    return record if record is not None and record.counts.get(LABELS) == _asked_for(run) else None


def wanted_labels(run: Run) -> tuple[str, ...]:
    """The labels that need evidence: all that the recipe asks for, but neutral, for which any section will do."""
    names = [name for name in run.taxonomy.names if name != run.taxonomy.neutral]
    wanted = run.recipe.utterances.labels or names
    # neutral rows alone need somebody in a scene too
    return tuple(name for name in names if name in wanted) or tuple(names)


def _asked_for(run: Run) -> int:
    """A number that stands for the labels that a model is asked for; 0 where none is asked."""
    if run.recipe.stories.evidence == "given":
        return 0
    return int(hashlib.sha256("\n".join(wanted_labels(run)).encode()).hexdigest()[:12], 16)


def read_evidence(run: Run, n_shards: int) -> list[Evidence]:
    """Read the pairs of all shards; none at all is an error, since nothing could be asked."""
    pairs = [pair for index in range(n_shards) for pair in to_records(run.folder.read_shard(STAGE, index)[0], Evidence)]
    if not pairs:
        raise InputError(
            "No section gives cause for any of the emotions that the recipe asks for.",
            where=str(run.folder.work / STAGE),
            next_step="read the rejected rows there; ask for other labels, or use longer stories, another model, or "
            "stories with given feelings",
        )
    return pairs


def chosen_sections(inputs: Inputs) -> dict[str, list[int]]:
    """The sections to ask, spread evenly over stories and within each; in story order, for the prefix cache."""
    given = inputs.recipe.stories.evidence == "given"
    queues: dict[str, list[int]] = {}
    for story in inputs.stories:
        sections = sorted({feeling.section for feeling in story.feelings}) if given else range(len(story.sections))
        queues[story.story_id] = sorted(sections, key=lambda section, story=story: _spread(story, section))
    left = inputs.recipe.stories.sections or sum(map(len, queues.values()))
    chosen: dict[str, list[int]] = {story_id: [] for story_id in queues}
    turn = 0
    while left > 0 and any(len(queue) > turn for queue in queues.values()):
        for story_id, queue in queues.items():
            if turn < len(queue) and left > 0:
                chosen[story_id].append(queue[turn])
                left -= 1
        turn += 1
    return {story_id: sorted(sections) for story_id, sections in chosen.items() if sections}


def _spread(story: Story, section: int) -> str:
    return hashlib.sha256(f"{story.story_id}:{section}".encode()).hexdigest()


def _given(story: Story, sections: list[int]) -> Iterator[Evidence]:
    """The feelings that come with a story, as evidence."""
    for feeling in story.feelings:
        if feeling.section in sections:
            yield Evidence(
                story_id=story.story_id,
                section=feeling.section,
                character=feeling.character,
                label=feeling.label,
                cause=feeling.cause,
                origin="given",
            )


def _rejected(row: SectionEvidence, story_verdict: Verdict | None) -> RejectedRow:
    verdict = story_verdict or row.verdict
    return RejectedRow(
        planned_id=f"{row.story_id}/{row.section}",
        stage="characters" if story_verdict else STAGE,
        gate="parse",
        reason=verdict.reason or "",
        detail=verdict.detail,
        label="",
        attempt=1,
        seed=row.seed,
        reply=row.reply,
    )


def _seed(run: Run, story: Story, section: int | None = None) -> int:
    return row_seed(run.recipe.seed, f"{story.story_id}/{'' if section is None else section}")
