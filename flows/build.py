# SPDX-License-Identifier: Apache-2.0
"""The flow: stories -> evidence -> utterances -> unique utterances -> one judged release.

Prefect orders the work and shows it; what is done is what verifiably lies on disk. A task is a shard and takes its
number, never rows.
"""

from collections.abc import Callable
from pathlib import Path

from flows import interrupts
from flows.duplicates import STAGE as DUPLICATES
from flows.duplicates import drop_duplicates
from flows.evidence import STAGE as EVIDENCE
from flows.evidence import evidence_shards, make_evidence, read_evidence
from flows.prefect_setup import prefect_api
from flows.progress import Progress
from flows.release import Release, close_run, is_finished
from flows.run_folder import DoneRecord
from flows.runs import Inputs, Run, StoppedError, open_run_of
from flows.utterances import STAGE as UTTERANCES
from flows.utterances import make_utterances, plan_rows, shards_of
from generators.plans import Plan
from validators.errors import DeferredError
from validators.records import Evidence

SHARDS_AT_ONCE = 2  # while the last rows of one shard finish, the next one keeps the engine full

MakeShard = Callable[[int], DoneRecord]
MakeAll = Callable[[Run, str, int, MakeShard], None]
"""Makes all shards of a stage: run, stage, number of shards, and how one is made."""


def build(inputs: Inputs, root: Path, progress: Progress, *, rebuild: bool = False) -> Release:
    """Build a release, or finish the one begun in this folder; a finished one is only read."""
    with open_run_of(inputs, root, progress, rebuild=rebuild) as run:
        if is_finished(run):
            return build_release(run, in_turn)
        with prefect_api():
            return build_with_prefect(run)


def build_release(run: Run, make_all: MakeAll) -> Release:
    """Build a release stage by stage; `make_all` makes the shards of a stage."""
    evidence = find_evidence(run, make_all)
    plan = plan_rows(run, evidence)
    n_shards = write_utterances(run, plan, make_all)
    drop_repeated(run, n_shards, make_all)
    return close_run(run, plan, n_shards)


def build_with_prefect(run: Run) -> Release:
    """Run `build_release` as a Prefect flow with a task per shard."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    def as_tasks(run: Run, stage: str, n_shards: int, make: MakeShard) -> None:
        @task(name=stage, task_run_name=f"{stage}-{{index}}", cache_policy=NO_CACHE, persist_result=False)
        def shard(index: int) -> int:
            return make(index).kept

        futures = [shard.submit(index) for index in range(n_shards)]
        _raise_first(run, [future.result for future in futures])

    # what stands here is shown in Prefect's interface: names, never the run with its models and keys
    @flow(
        name="affectory",
        flow_run_name=run.folder.root.name,
        task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE),  # type: ignore[arg-type]  # generic in Prefect
        persist_result=False,
        validate_parameters=False,
    )
    def affectory(recipe: str, fingerprint: str) -> Release:
        interrupts.reinstall()
        return build_release(run, as_tasks)

    return affectory(recipe=run.recipe.name, fingerprint=run.folder.fingerprint)


def in_turn(run: Run, stage: str, n_shards: int, make: MakeShard) -> None:
    """Make shards one after the other in this thread, without Prefect."""
    for index in range(n_shards):
        make(index)


def find_evidence(run: Run, make_all: MakeAll) -> list[Evidence]:
    """Ask which characters have cause for which emotion."""
    shards = evidence_shards(run)
    asks_model = run.recipe.stories.evidence != "given"
    n_asked = [sum(len(sections) for _, sections in shard) if asks_model else 0 for shard in shards]
    _begin(run, EVIDENCE, n_asked)
    with run.timed(EVIDENCE):
        make = _shard_maker(run, EVIDENCE, lambda index: make_evidence(run, index, shards[index]))
        make_all(run, EVIDENCE, len(shards), make)
    return read_evidence(run, len(shards))


def write_utterances(run: Run, plan: Plan, make_all: MakeAll) -> int:
    """Write the planned rows; returns the number of shards."""
    shards = shards_of(run, plan)
    splits = run.splits_of(row.story_id for row in plan.rows)
    _begin(run, UTTERANCES, [len(shard) for shard in shards])
    with run.timed(UTTERANCES):
        make_all(
            run,
            UTTERANCES,
            len(shards),
            _shard_maker(run, UTTERANCES, lambda i: make_utterances(run, i, shards[i], splits)),
        )
    return len(shards)


def drop_repeated(run: Run, n_shards: int, make_all: MakeAll) -> None:
    """Drop exact and near duplicates over the whole dataset."""
    n_written = sum(record.kept for record in run.folder.stage_records(UTTERANCES))
    _begin(run, DUPLICATES, [n_written])
    with run.timed(DUPLICATES):
        make_all(run, DUPLICATES, 1, lambda _: run.folder.done(DUPLICATES, 0) or drop_duplicates(run, n_shards))


def _shard_maker(run: Run, stage: str, make: MakeShard) -> MakeShard:
    def made(index: int) -> DoneRecord:
        if run.stopping.is_set():
            raise StoppedError(stage)
        record = run.folder.done(stage, index) or make(index)
        run.stop_if_systematic(record)
        return record

    return made


def _begin(run: Run, stage: str, shard_rows: list[int]) -> None:
    done = sum(rows for index, rows in enumerate(shard_rows) if run.folder.done_path(stage, index).exists())
    run.progress.begin(stage, sum(shard_rows), done)


def _raise_first(run: Run, results: list[Callable[[], object]]) -> None:
    """Wait for all shards. The first failure stops the others, except rows without an answer: those only stay open."""
    deferred: DeferredError | None = None
    failure: BaseException | None = None
    for result in results:
        try:
            result()
        except StoppedError:
            continue  # it gave up because another shard failed, which is raised below
        except DeferredError as error:
            deferred = deferred or error
        except BaseException as error:
            run.stopping.set()
            failure = failure or error
            if not isinstance(error, Exception):
                raise
    if failure or deferred:
        raise failure or deferred  # type: ignore[misc]  # one of them is set
