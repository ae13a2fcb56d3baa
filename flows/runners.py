# SPDX-License-Identifier: Apache-2.0
"""Shards as Prefect tasks: in threads of this process, or in workers of a cluster.

What a task is given is shown in Prefect's interface: names and numbers, never the run with its models and keys.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from flows import interrupts
from flows.clusters import Workers, connect
from flows.done_records import DoneRecord
from flows.runs import Run, StoppedError
from flows.shards import Failures, MakeAll, Shards, Turn
from flows.shards_at_once import LEAST
from flows.stopping import StopFile
from flows.usage import Report
from flows.worker import STOP, make_shard, write_command
from validators.errors import DeferredError, StorageError

if TYPE_CHECKING:
    from flows.release import Release

SEEN_WITHIN_S: Final = 60.0  # a network file system may show a file of another machine half a minute late

BuildRelease = Callable[[Run, MakeAll], "Release"]


def build_in_threads(run: Run, build_release: BuildRelease) -> "Release":
    """Run a build as a Prefect flow with a task per shard, as many at a time as fill the engines."""
    from prefect.task_runners import ThreadPoolTaskRunner

    at_once = run.shards_at_once
    threads = max(at_once.values()) + at_once.get("speech", 0)  # clips may be made beside another stage
    return _flow(run, ThreadPoolTaskRunner(max_workers=threads), lambda: build_release(run, _in_threads))


def build_on_cluster(run: Run, build_release: BuildRelease) -> "Release":
    """Run a build as a Prefect flow whose tasks are made by the workers of a cluster.

    This process plans the rounds, says which shards are begun, and makes the release.
    """
    stop = StopFile(run.folder.work / STOP, run.folder.mirror)
    stop.clear()
    run.stopping = stop
    command = write_command(run.folder, run.inputs)
    place = run.recipe.storage or str(run.folder.root.absolute())
    with connect(run.recipe.runner, run.recipe.cluster) as workers:

        def make_all(run: Run, shards: Shards) -> str:
            return _on_workers(run, shards, workers, (place, command))

        try:
            return _flow(run, workers.task_runner, lambda: build_release(run, make_all))
        except BaseException:
            stop.set()
            raise


_body: ContextVar[Callable[[], "Release"]] = ContextVar("_body")


def affectory(recipe: str, fingerprint: str) -> "Release":
    """What the flow does. Prefect sends flows along with tasks, so it holds nothing, and is found by its name."""
    interrupts.reinstall()
    return _body.get()()


def _flow(run: Run, task_runner: Any, body: Callable[[], "Release"]) -> "Release":
    from prefect import flow

    as_flow = flow(
        name="affectory",
        flow_run_name=run.folder.root.name,
        task_runner=task_runner,
        persist_result=False,
        validate_parameters=False,
    )(affectory)

    def shown() -> "Release":
        with _board(run):
            return body()

    before = _body.set(shown)
    try:
        return as_flow(recipe=run.recipe.name, fingerprint=run.folder.fingerprint)
    finally:
        _body.reset(before)


@contextmanager
def _board(run: Run) -> Iterator[None]:
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


def _in_threads(run: Run, shards: Shards) -> str:
    """Have shards made in threads of this process, as many at a time as fill the engine."""

    def make(index: int) -> DoneRecord:
        return shards.make(index)

    turn, at_once = Turn(run, shards), run.shards_at_once.get(shards.stage, LEAST)
    return side_by_side(
        turn,
        capacity=lambda: at_once,
        submit=_task(shards.stage, make).submit,
        end=lambda _, future: turn.end(future.result()),
    )


def _on_workers(run: Run, shards: Shards, workers: Workers, order: tuple[str, str]) -> str:
    """Have shards made by workers, as many at a time as the cluster can take, so that few are begun in vain."""
    turn, shard = Turn(run, shards), _task(shards.stage, make_shard)

    def submit(index: int) -> Any:
        with workers.claim():
            return shard.submit(*order, shards.stage, index)

    return side_by_side(
        turn, capacity=workers.capacity, submit=submit, end=lambda index, future: _end(turn, index, future, workers)
    )


def _task(stage: str, make: Callable[..., Any]) -> Any:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    return task(name=stage, task_run_name=f"{stage}-{{index}}", cache_policy=NO_CACHE, persist_result=False)(make)


def side_by_side(
    turn: Turn, *, capacity: Callable[[], int], submit: Callable[[int], Any], end: Callable[[int, Any], None]
) -> str:
    """Submit the shards that are to be made, as many at a time as there is capacity for, and end each as it is done.

    Gives why not all of them were begun, "" if they were. Raises what the first failure was once those that were begun
    have ended; `StoppedError` where the run was stopped from elsewhere.
    """
    failures = Failures(turn.run)
    waiting = deque(turn.shards.indexes)
    ended: SimpleQueue[Any] = SimpleQueue()
    begun: dict[Any, int] = {}
    try:
        while waiting or begun:
            while waiting and len(begun) < capacity():
                index = waiting.popleft()
                with failures.noting():
                    if turn.is_to_make(index):
                        future = submit(index)
                        begun[future.task_run_id] = index
                        future.add_done_callback(ended.put)
            with suppress(Empty):
                # no longer, so that Ctrl-C is seen and new workers get work
                future = ended.get(timeout=1.0 if waiting or begun else 0)
                with failures.noting():
                    end(begun.pop(future.task_run_id), future)
    except BaseException:
        turn.run.stopping.set()
        raise
    failures.raise_first()
    if turn.run.stopping.is_set():
        raise StoppedError(turn.shards.stage)
    return turn.spent


def _end(turn: Turn, index: int, future: Any, workers: Workers) -> None:
    """Hear what became of a shard, and see for ourselves."""
    run, shards = turn.run, turn.shards
    try:
        report: Report = future.result()
    except workers.lost as error:
        raise DeferredError(
            f"the worker of shard {index} of stage {shards.stage} died, and so did those that tried it again "
            f"({type(error).__name__})",
            where=str(run.folder.kept_path(shards.stage, index)),
            next_step="run the same command again; if it dies again, see that a worker has memory for its models",
        ) from error
    run.hear(shards.stage, report)
    turn.end(_seen(run, shards, index))


def _seen(run: Run, shards: Shards, index: int) -> DoneRecord:
    """The record of a shard that a worker has made, as soon as it is seen here."""
    end_s = time.monotonic() + SEEN_WITHIN_S
    run.folder.forget(shards.stage, index)
    while (record := shards.done(index)) is None:
        if time.monotonic() > end_s:
            raise StorageError(
                f"a worker made shard {index} of stage {shards.stage}, and it is not in the run's folder",
                where=str(run.folder.done_path(shards.stage, index)),
                next_step="see that all machines mount this folder at this path, and run again",
            )
        time.sleep(0.5)
    return record
