# SPDX-License-Identifier: Apache-2.0
"""A short probe before a run: a handful of real sections, rows, dialogues and clips, made as the run would make them.

It is made by the run's own stages in a folder that is thrown away. What it asked the writer is stored where the run
will look for it, so that a build pays for none of it twice: the first rows that it plans are those of the probe.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from flows.dialogue_plans import openings_of, wanted_of
from flows.dialogues import STAGE as DIALOGUES
from flows.dialogues import make_dialogues
from flows.evidence import STAGE as EVIDENCE
from flows.evidence import Shard, evidence_shards, make_evidence
from flows.meter import Sample
from flows.progress import Progress
from flows.quotas import quotas_of
from flows.reply_store import ReplyStore
from flows.runs import Inputs, Run, open_run_of
from flows.shards_at_once import LEAST
from flows.speech import STAGE as SPEECH
from flows.speech import open_studio, plan_speech
from flows.speech_plans import texts_of
from flows.studio import Recorded
from flows.utterances import STAGE as UTTERANCES
from flows.utterances import make_utterances
from flows.yields import UnitYield, Yields, builtin_yields, sections_asked
from generators.dialogues.plans import plan_dialogues
from generators.plans import plan_round
from generators.quotas import Standing
from validators.dialogue_records import Dialogue
from validators.records import Evidence, Utterance
from validators.schemas import to_records

LEAST_ROWS = 12  # the share in which the reader hears the intention is then known to a seventh
PER_SLOT = 2  # rows: half of them are written when every slot has the constant part of the prompts in its cache
MOST_ROWS = 512
LEAST_SECTIONS = 8
SECTIONS_PER_STORY = 4
MOST_DIALOGUES = 4
CLIPS_PER_WORKER = 3  # the first of each opens the engines
PRIOR = 4.0  # trials that a built-in share counts for beside the few of a probe
FULL = 0.75  # of the slots: a request that shared the engine with fewer was answered faster than those of a run are


@dataclass
class _Found:
    """What the stages of a probe found, one after the other."""

    of: dict[str, UnitYield]
    evidence: Sequence[Evidence] = ()
    utterances: Sequence[Utterance] = ()
    dialogues: Sequence[Dialogue] = ()


def probe(inputs: Inputs, progress: Progress, keep: Path | None = None) -> Yields:
    """Make a few of everything that a recipe wants, and measure it; the replies go to the reply store `keep`."""
    # whose folder is thrown away, and so is no run's in an object store
    inputs = replace(inputs, recipe=inputs.recipe.model_copy(update={"storage": None}))
    with tempfile.TemporaryDirectory(prefix="affectory-probe-") as scratch:
        with open_run_of(inputs, Path(scratch) / "probe", progress) as run:
            found = _Found(dict(builtin_yields(inputs).of))
            _probe_evidence(run, found)
            n_rows = _probe_utterances(run, found)
            _probe_dialogues(run, found)
            _probe_speech(run, found)
            calls, took_s = run.spending.total.calls, run.spending.wall_s
        if keep is not None:
            with ReplyStore(keep) as store:
                store.adopt(run.folder.replies)
    return Yields(f"a probe of {n_rows} rows: {calls} requests in {took_s:.0f} s", found.of)


def _probe_evidence(run: Run, found: _Found) -> None:
    shards = evidence_shards(run)
    n_asked = 0
    if run.recipe.stories.evidence != "given":
        shards = [_some_sections(shards, max(LEAST_SECTIONS, min(PER_SLOT * run.n_slots, MOST_ROWS)))]
        n_asked = sum(len(sections) for shard in shards for _, sections in shard)
    run.progress.begin(EVIDENCE, n_asked)
    with _sampled(run) as samples:
        records = [make_evidence(run, index, shard) for index, shard in enumerate(shards)]
    found.evidence = [
        pair for record in records for pair in to_records(run.folder.read_shard(EVIDENCE, record.index)[0], Evidence)
    ]
    if samples:
        per_story = len(run.stories) / sections_asked(run.inputs)
        measured = _measured(samples, n_asked, slots=run.n_slots, times={"evidence": 1.0, "characters": per_story})
        fed = sum(record.counts["sections_with_evidence"] for record in records) / n_asked
        found.of[EVIDENCE] = replace(measured, kept=fed, stays=fed)


def _some_sections(shards: Sequence[Shard], count: int) -> Shard:
    """The first sections of the first stories, a few of each."""
    places = [
        (story, section) for shard in shards for story, sections in shard for section in sections[:SECTIONS_PER_STORY]
    ]
    some: Shard = []
    for story, section in islice(places, count):
        if not some or some[-1][0].story_id != story.story_id:
            some.append((story, []))
        some[-1][1].append(section)
    return some


def _probe_utterances(run: Run, found: _Found) -> int:
    rows = plan_round(
        found.evidence,
        run.splits_of(pair.story_id for pair in found.evidence),
        quotas_of(run),
        Standing(),
        seed=run.recipe.seed,
        first_shard=0,
        shard_rows=run.recipe.shard_rows,
        earlier=run.inputs.earlier.pairs,
    )
    count = min(len(rows), max(LEAST_ROWS, min(PER_SLOT * run.n_slots, MOST_ROWS)))
    if not count:
        return 0
    chosen = [rows[n * len(rows) // count] for n in range(count)]
    run.progress.begin(UTTERANCES, count)
    with _sampled(run) as samples:
        record = make_utterances(run, 0, chosen)
    found.utterances = to_records(run.folder.read_shard(UTTERANCES, 0)[0], Utterance)
    before = found.of[UTTERANCES]
    accepted = sum(row.realised is not False for row in found.utterances)
    slots = min(run.n_slots, run.shards_at_once[UTTERANCES] * run.recipe.shard_rows, count)
    found.of[UTTERANCES] = replace(
        _measured(samples, count, slots=slots),
        kept=_with_prior(accepted, count, before.kept),
        stays=_with_prior(record.kept, count, before.stays),
    )
    return count


def _probe_dialogues(run: Run, found: _Found) -> None:
    role = run.recipe.dialogues
    if role is None:
        return
    side_by_side = min(run.n_slots, run.shards_at_once[DIALOGUES] * role.shard_rows)
    openings = openings_of(found.utterances, found.evidence)
    count = max(LEAST, min(side_by_side, MOST_DIALOGUES))
    wanted = wanted_of(run.recipe, role, run.taxonomy)
    rows = plan_dialogues(wanted, (), openings, count=min(role.rows, count), first_shard=0, shard_rows=role.shard_rows)
    if not rows:
        return
    run.progress.begin(DIALOGUES, len(rows))
    with _sampled(run) as samples:
        record = make_dialogues(run, role, 0, rows, {row.utterance_id: row for row in found.utterances})
    found.dialogues = to_records(run.folder.read_shard(DIALOGUES, 0)[0], Dialogue)
    kept = _with_prior(record.kept, len(rows), found.of[DIALOGUES].kept)
    measured = _measured(samples, len(rows), slots=min(side_by_side, len(rows)))
    found.of[DIALOGUES] = replace(measured, kept=kept, stays=kept)


def _probe_speech(run: Run, found: _Found) -> None:
    role = run.recipe.speech
    if role is None:
        return
    said = texts_of(role, found.utterances, found.dialogues)
    if not said:
        return
    planned = plan_speech(run, role, said, ())[: CLIPS_PER_WORKER * role.workers]
    run.progress.begin(SPEECH, len(planned))
    with open_studio(run, role) as pool:
        made = []
        for clip in pool.make(planned):
            made.append(clip)
            run.advance(SPEECH, kept=int(isinstance(clip, Recorded)), rejected=int(not isinstance(clip, Recorded)))
    spans = sorted(pool.spans)[role.workers if len(pool.spans) > role.workers else 0 :]
    sizes = [len(clip.audio) for clip in made if isinstance(clip, Recorded)]
    before = found.of[SPEECH]
    kept = _with_prior(len(sizes), len(made), before.kept)
    found.of[SPEECH] = UnitYield(
        seconds=sum(ended_s - began_s for began_s, ended_s in spans) / max(1, len(spans)) / role.workers,
        kept=kept,
        stays=kept,
        size=sum(sizes) / len(sizes) if sizes else before.size,
    )


@contextmanager
def _sampled(run: Run) -> Iterator[list[Sample]]:
    """Collect the answers of a stretch of work."""
    samples: list[Sample] = []
    run.meter.samples = samples
    try:
        yield samples
    finally:
        run.meter.samples = None


def _measured(
    samples: Sequence[Sample], units: int, *, slots: int, times: Mapping[str, float] | None = None
) -> UnitYield:
    """What one unit takes, at so many side by side; `times` says how often a kind is asked where that is known.

    Latencies are of requests that shared the engine with as many as a run has in flight; the first of each kind in
    every slot are left out, since they read the constant part of the prompt, which a run does once.
    """
    kinds = {sample.kind: [one for one in samples if one.kind == sample.kind] for sample in samples}
    calls = prompt_tokens = completion_tokens = seconds = 0.0
    for kind, ones in kinds.items():
        n = times[kind] if times and kind in times else len(ones) / units
        warm = ones[slots:] or ones[-1:]
        full = [one for one in warm if one.beside >= FULL * slots] or warm
        calls += n
        prompt_tokens += n * _mean([one.prompt_tokens for one in ones])
        completion_tokens += n * _mean([one.completion_tokens for one in ones])
        seconds += n * _mean([one.latency_s for one in full]) / slots
    return UnitYield(calls, prompt_tokens, completion_tokens, seconds)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _with_prior(found: int, tried: int, before: float) -> float:
    """A share by few trials, drawn towards what is usual."""
    return (found + PRIOR * before) / (tried + PRIOR)
