# SPDX-License-Identifier: Apache-2.0
"""The flow: stories -> evidence -> quotas filled in rounds -> dialogues -> speech -> one judged release.

Prefect orders the work and shows it; what is done is what verifiably lies on disk. A task is a shard and takes its
number, never rows.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows import interrupts
from flows.dialogue_rounds import fill_dialogues
from flows.evidence import STAGE as EVIDENCE
from flows.evidence import done_evidence, evidence_shards, make_evidence, read_evidence
from flows.final_tables import final_tables, is_finished
from flows.plan_file import keep_plan
from flows.prefect_setup import prefect_api
from flows.preflight import check_machine
from flows.progress import Progress
from flows.quotas import MakeAll, MakeShard, fill_quotas
from flows.run_folder import DoneRecord
from flows.runs import Inputs, Run, StoppedError, open_run_of
from flows.shards import LEAST
from flows.speech import speak
from validators.errors import DeferredError
from validators.records import Evidence

if TYPE_CHECKING:
    from flows.release import Release


def build(inputs: Inputs, root: Path, progress: Progress, *, rebuild: bool = False) -> "Release":
    """Build a release, or finish the one begun in this folder; a finished one is only read."""
    with open_run_of(inputs, root, progress, rebuild=rebuild) as run:
        if is_finished(run):
            return build_release(run, in_turn)
        check_machine(run)
        keep_plan(run)
        with prefect_api(meanwhile=lambda: get_ready(run)):
            return build_with_prefect(run)


def build_release(run: Run, make_all: MakeAll) -> "Release":
    """Build a release stage by stage; `make_all` makes the shards of a stage."""
    from flows.release import close_run  # pandas, which the start need not wait for

    evidence = find_evidence(run, make_all)
    go_on = not is_finished(run)
    filled = fill_quotas(run, evidence, watched(make_all), go_on=go_on)
    tables = utterances, _ = final_tables(run, filled)
    talked = fill_dialogues(run, utterances, evidence, watched(make_all), go_on=go_on)
    spoken = speak(run, utterances, talked.kept if talked else None, watched(make_all), go_on=go_on)
    return close_run(run, filled, tables, talked, spoken)


def build_with_prefect(run: Run) -> "Release":
    """Run `build_release` as a Prefect flow with a task per shard."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    def as_tasks(run: Run, stage: str, indexes: Sequence[int], make: MakeShard) -> None:
        @task(name=stage, task_run_name=f"{stage}-{{index}}", cache_policy=NO_CACHE, persist_result=False)
        def shard(index: int) -> int:
            record = make(index)
            return record.kept if record else 0

        futures = [shard.submit(index) for index in indexes]
        _raise_first(run, [future.result for future in futures])

    most = max(run.shards_at_once.values())

    # what stands here is shown in Prefect's interface: names, never the run with its models and keys
    @flow(
        name="affectory",
        flow_run_name=run.folder.root.name,
        task_runner=ThreadPoolTaskRunner(max_workers=most),  # type: ignore[arg-type]  # generic in Prefect
        persist_result=False,
        validate_parameters=False,
    )
    def affectory(recipe: str, fingerprint: str) -> "Release":
        interrupts.reinstall()
        with prefect_board(run):
            return build_release(run, as_tasks)

    return affectory(recipe=run.recipe.name, fingerprint=run.folder.fingerprint)


def get_ready(run: Run) -> None:
    """Import and open what the work will need, while Prefect's server starts in a process of its own."""
    import prefect  # noqa: F401 - a second and a half on a laptop

    if run.reader is None:
        run.inputs.models.open_encoder()
    if not len(run.store):  # where replies are stored, perhaps nothing is left to ask
        run.inputs.models.writer.open()


@contextmanager
def prefect_board(run: Run) -> Iterator[None]:
    """Show the tables of a run at the flow run that is at work here."""
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run

    from flows.prefect_board import PrefectBoard

    with get_client(sync_client=True) as client:
        run.watch.board = PrefectBoard(client, UUID(flow_run.id), run.folder.root.name)
        try:
            yield
        finally:
            run.watch.board = None


def in_turn(run: Run, stage: str, indexes: Sequence[int], make: MakeShard) -> None:
    """Make shards one after the other in this thread, without Prefect."""
    for index in indexes:
        make(index)


def find_evidence(run: Run, make_all: MakeAll) -> list[Evidence]:
    """Ask which characters have cause for which emotion."""
    shards = evidence_shards(run)
    asks_model = run.recipe.stories.evidence != "given"
    n_asked = [sum(len(sections) for _, sections in shard) if asks_model else 0 for shard in shards]
    _begin(run, EVIDENCE, n_asked)
    with run.timed(EVIDENCE):
        watched(make_all)(
            run,
            EVIDENCE,
            range(len(shards)),
            lambda index: done_evidence(run, index) or make_evidence(run, index, shards[index]),
        )
    return read_evidence(run, len(shards))


def watched(make_all: MakeAll) -> MakeAll:
    """Keep as many shards at work as fill the engine; let each give up once the run stops.

    The run stops when one reason takes too many rows.
    """

    def made_all(run: Run, stage: str, indexes: Sequence[int], make: MakeShard) -> None:
        turns = threading.BoundedSemaphore(run.shards_at_once.get(stage, LEAST))

        def made(index: int) -> DoneRecord | None:
            with turns:
                if run.stopping.is_set():
                    raise StoppedError(stage)
                record = make(index)
            if record is not None:
                run.watch.shard(record)
                run.stop_if_systematic(record)
            return record

        make_all(run, stage, indexes, made)

    return made_all


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
