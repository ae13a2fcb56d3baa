# SPDX-License-Identifier: Apache-2.0
"""The speech stage: the kept utterances and turns said aloud, shard by shard.

work/clip_plan/part-00000.parquet  which clips are made, by which voices; written before any is
work/speech/part-*.parquet         its shards, with their sound
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from flows.done_records import DoneRecord
from flows.meter import StageTime, load_of
from flows.models import SpeechModels
from flows.runs import Run, StoppedError
from flows.shards import MakeAll, Shards
from flows.speech_plans import Said, plan_clips, shard_of, texts_of, unplanned
from flows.speech_role import Speech
from flows.studio import Recorded, StudioPool, StudioSpec
from generators.backends.registry import open_voice
from generators.speech.takes import TakeSettings
from generators.speech.voices import SAMPLE_RATE, check_voice
from validators.clip_gates import ClipBounds
from validators.dialogue_records import Dialogue
from validators.dialogue_schemas import DIALOGUES
from validators.readings import RealisedRule
from validators.records import RejectedRow, Utterance
from validators.schemas import REJECTED, to_records, to_table
from validators.speech_records import Clip, PlannedClip
from validators.speech_schemas import CLIPS, PLANNED_CLIPS

STAGE = "speech"
PLAN = "clip_plan"


@dataclass(frozen=True)
class Spoken:
    """How far the clips came, and why not further."""

    planned: tuple[PlannedClip, ...]
    kept: pa.Table
    rejected: pa.Table
    short: str
    """Why not all planned clips were begun; "" if they were."""


def speak(
    run: Run, utterances: pa.Table, dialogues: pa.Table | None, make_all: MakeAll, *, go_on: bool
) -> Spoken | None:
    """Say the kept texts; None where the recipe wants no speech. Without `go_on` only what lies on disk is read."""
    role = run.recipe.speech
    if role is None:
        return None
    planned = stored_plan(run)
    # utterances first and for themselves, so that the clips are the same whether or not they are made while dialogues
    # are still written
    of_rows = texts_of(role, to_records(utterances, Utterance), [])
    of_turns = texts_of(role, [], to_records(dialogues, Dialogue) if dialogues else [])
    for said in (of_rows, of_turns):
        if go_on and (new := unplanned(said, planned)):
            planned += plan_speech(run, role, new, planned)
    shards: dict[int, list[PlannedClip]] = {}
    for row in planned:
        shards.setdefault(shard_of(row), []).append(row)
    spent = ""
    if go_on and planned:
        done = sum(len(rows) for index, rows in shards.items() if run.folder.done_path(STAGE, index).exists())
        run.progress.begin(STAGE, len(planned), done)
        with run.timed(STAGE, slots=role.workers), open_studio(run, role) as pool:
            work = Shards(
                STAGE,
                list(shards),
                done=lambda index: run.folder.done(STAGE, index),
                make=lambda index: make_clips(run, pool, index, shards[index]),
                budgeted=True,
            )
            spent = make_all(run, work)
        run.add_time(STAGE, StageTime(load=load_of(pool.spans)))
    made = [index for index in shards if run.folder.done(STAGE, index)]
    tables = [run.folder.read_shard(STAGE, index) for index in made]
    return Spoken(
        planned=tuple(row for index in made for row in shards[index]),
        kept=pa.concat_tables([CLIPS.empty_table(), *(kept for kept, _ in tables)]).cast(CLIPS),
        rejected=pa.concat_tables([REJECTED.empty_table(), *(lost for _, lost in tables)]).cast(REJECTED),
        short=spent,
    )


def with_voices(dialogues: pa.Table, spoken: Spoken) -> pa.Table:
    """The dialogues with the clip of each turn and the voice of each speaker, where there is one."""
    clips = {
        (row["dialogue_id"], row["turn"]): row
        for row in spoken.kept.select(["clip_id", "dialogue_id", "turn", "voice", "rendering"]).to_pylist()
        if row["dialogue_id"] is not None and row["rendering"] == 0
    }
    rows = []
    for row in to_records(dialogues, Dialogue):
        made = {turn.turn: clips.get((row.dialogue_id, turn.turn)) for turn in row.turns}
        voices: dict[int, str] = {turn.speaker: clip["voice"] for turn in row.turns if (clip := made[turn.turn])}
        rows.append(
            row.model_copy(
                update={
                    "turns": tuple(
                        turn.model_copy(update={"clip_id": clip["clip_id"] if (clip := made[turn.turn]) else None})
                        for turn in row.turns
                    ),
                    "speakers": tuple(
                        speaker.model_copy(update={"voice": voices.get(place)})
                        for place, speaker in enumerate(row.speakers)
                    ),
                }
            )
        )
    return to_table(rows, DIALOGUES)


def known_as_sound(table: pa.Table) -> pa.Table:
    """The table with the note by which `datasets` reads its column `audio` as sound and not as bytes."""
    from datasets import Audio, Features

    features = Features.from_arrow_schema(table.schema)
    features["audio"] = Audio(sampling_rate=SAMPLE_RATE)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **features.arrow_schema.metadata})


def make_clips(run: Run, pool: StudioPool, index: int, planned: Sequence[PlannedClip]) -> DoneRecord:
    """Make the clips of one shard; each ends as a kept or a rejected one, in the order of the plan."""
    kept: list[dict[str, object]] = []
    rejected: list[RejectedRow] = []
    for plan, made in zip(planned, pool.make(planned), strict=True):
        if run.stopping.is_set():
            raise StoppedError(STAGE)
        if isinstance(made, Recorded):
            kept.append(clip_row(plan, made))
        else:
            rejected.append(made)
        run.advance(STAGE, kept=int(isinstance(made, Recorded)), rejected=int(isinstance(made, RejectedRow)))
    return run.folder.write_shard(
        STAGE,
        index,
        planned=len(planned),
        kept=pa.Table.from_pylist(kept, schema=CLIPS),
        rejected=to_table(rejected, REJECTED),
    )


def clip_row(plan: PlannedClip, recorded: Recorded) -> dict[str, object]:
    """A kept clip as a row of its table, checked as a record before its sound is added."""
    made = recorded.made
    clip = Clip(
        clip_id=plan.clip_id,
        utterance_id=plan.utterance_id,
        dialogue_id=plan.dialogue_id,
        turn=plan.turn,
        story_id=plan.story_id,
        speaker=plan.speaker,
        text=plan.text,
        language=plan.language,
        n_samples=recorded.n_samples,
        sample_rate=SAMPLE_RATE,
        voice=plan.voice,
        voice_licence=recorded.voice_licence,
        engine=recorded.engine,
        intended=plan.intended,
        delivery=made.delivery,
        controls=made.controls,
        measured=made.measured,
        neutral=made.neutral,
        transcript=made.heard.transcript,
        wer=made.wer,
        dnsmos=made.heard.dnsmos,
        speaker_similarity=made.speaker_similarity,
        distance=made.distance,
        passed_at_first=made.passed_at_first,
        perceived=made.perceived,
        realised=made.realised,
        attempts=made.attempts,
        rendering=plan.rendering,
        listener=recorded.listener,
        seed=plan.seed,
        split=plan.split,
    )
    return clip.model_dump() | {"audio": {"bytes": recorded.audio, "path": f"{plan.clip_id}.flac"}}


def plan_speech(run: Run, role: Speech, said: Sequence[Said], before: Sequence[PlannedClip]) -> tuple[PlannedClip, ...]:
    """Plan the clips of new texts and store the plan, so that a resumed run makes the same."""
    voice = open_voice(role.voice.backend, _models(run).voice)
    try:
        cards = dict(voice.voices)
    finally:
        voice.close()
    for name in role.voices or ():
        check_voice(name, cards)
    labels = [name for name in run.taxonomy.names if name != run.taxonomy.neutral]
    planned = plan_clips(role, said, cards, labels, before=before, seed=run.recipe.seed)
    free = next(number for number in itertools.count() if run.folder.done(PLAN, number) is None)
    run.folder.write_shard(
        PLAN,
        free,  # a plan that was lost leaves a gap, and none after it may be overwritten
        planned=len(planned),
        kept=to_table(planned, PLANNED_CLIPS),
        rejected=REJECTED.empty_table(),
    )
    return tuple(planned)


def stored_plan(run: Run) -> tuple[PlannedClip, ...]:
    """The clips that are planned."""
    parts = [run.folder.read_shard(PLAN, record.index)[0] for record in run.folder.stage_records(PLAN)]
    return tuple(row for part in parts for row in to_records(part, PlannedClip))


def open_studio(run: Run, role: Speech) -> StudioPool:
    """The processes that speak; they start with the first clip."""
    return StudioPool(studio_spec(run, role), workers=role.workers, timeout_s=role.timeout_s)


def studio_spec(run: Run, role: Speech) -> StudioSpec:
    """All that a worker needs to open the engines of a recipe."""
    models = _models(run)
    return StudioSpec(
        voice_backend=role.voice.backend,
        voice=models.voice,
        listener_backend=role.listener.backend,
        listener=models.listener,
        emotion_backend=role.emotion.backend if role.emotion else None,
        emotion=models.emotion,
        labels={label.name: label for label in run.taxonomy.labels},
        settings=TakeSettings(
            takes=role.takes,
            near=role.near,
            bounds=ClipBounds(
                max_wer=role.max_wer, min_dnsmos=role.min_dnsmos, min_speaker_similarity=role.min_similarity
            ),
            rule=RealisedRule(rank=role.emotion.rank if role.emotion else 1),
        ),
    )


def _models(run: Run) -> SpeechModels:
    if run.inputs.models.speech is None:
        raise TypeError("the recipe wants no speech")
    return run.inputs.models.speech
