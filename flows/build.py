# SPDX-License-Identifier: Apache-2.0
"""The flow: stories -> evidence -> quotas filled in rounds -> dialogues -> speech -> one judged release.

Prefect orders the work and shows it; what is done is what verifiably lies on disk. A task is a shard and takes its
number, never rows.
"""

from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flows.beside import beside, cores_here, has_room
from flows.dialogue_rounds import Talked, fill_dialogues
from flows.evidence import STAGE as EVIDENCE
from flows.evidence import done_evidence, evidence_shards, make_evidence, read_evidence
from flows.final_tables import final_tables, is_finished
from flows.imports import collector_at_rest
from flows.plan_file import keep_plan
from flows.prefect_setup import Server, prefect_api, prefect_server
from flows.preflight import check_machine
from flows.progress import Progress
from flows.quotas import fill_quotas
from flows.runs import Inputs, Run, open_run_of
from flows.shards import MakeAll, Shards, in_turn
from flows.speech import speak
from validators.records import Evidence

__all__ = ["build", "build_release", "build_with_prefect", "in_turn"]

if TYPE_CHECKING:
    from flows.release import Release

READ_AHEAD = ("prefect.main", "prefect.task_runners", "fastapi.encoders", "flows.prefect_board", "flows.release")
"""What is read while Prefect's server starts; Prefect writes a flow's parameters by FastAPI."""


def build(
    inputs: Inputs, root: Path, progress: Progress, *, rebuild: bool = False, server: Server | None = None
) -> "Release":
    """Build a release, or finish the one begun in this folder; a finished one is only read.

    `server` is Prefect's, if it was begun already; else it is begun when it is known to be needed.
    """
    with open_run_of(inputs, root, progress, rebuild=rebuild) as run:
        if is_finished(run):
            return build_release(run, in_turn)
        check_machine(run)
        keep_plan(run)
        with (
            prefect_server() if server is None else nullcontext(server) as begun,
            prefect_api(begun, meanwhile=lambda: get_ready(run)),
        ):
            return build_with_prefect(run)


def build_release(run: Run, make_all: MakeAll) -> "Release":
    """Build a release stage by stage; `make_all` makes the shards of a stage."""
    from flows.release import close_run  # pandas, which the start need not wait for

    evidence = find_evidence(run, make_all)
    go_on = not is_finished(run)
    filled = fill_quotas(run, evidence, make_all, go_on=go_on)
    tables = utterances, _ = final_tables(run, filled)

    def talk() -> Talked | None:
        return fill_dialogues(run, utterances, evidence, make_all, go_on=go_on)

    if go_on and has_room(run.recipe, cores_here()):
        with beside(run, lambda: speak(run, utterances, None, make_all, go_on=go_on)):
            talked = talk()
    else:
        talked = talk()
    spoken = speak(run, utterances, talked.kept if talked else None, make_all, go_on=go_on)
    return close_run(run, filled, tables, talked, spoken)


def build_with_prefect(run: Run) -> "Release":
    """Run `build_release` as a Prefect flow with a task per shard, where the recipe wants it run."""
    from flows.runners import build_in_threads, build_on_cluster  # Prefect takes seconds to import

    on = build_in_threads if run.recipe.runner == "threads" else build_on_cluster
    return on(run, build_release)


def get_ready(run: Run) -> None:
    """Import and open what the work will need, while Prefect's server starts in a process of its own."""
    with collector_at_rest():
        for module in READ_AHEAD:
            import_module(module)
    if run.recipe.runner != "threads":
        return  # workers open their own models
    if run.reader is None:
        run.inputs.models.open_encoder()
    if not run.spent.calls:  # where replies are stored, perhaps nothing is left to ask
        run.inputs.models.writer.open()


def find_evidence(run: Run, make_all: MakeAll) -> list[Evidence]:
    """Ask which characters have cause for which emotion."""
    shards = evidence_shards(run)
    asks_model = run.recipe.stories.evidence != "given"
    n_asked = [sum(len(sections) for _, sections in shard) if asks_model else 0 for shard in shards]
    _begin(run, EVIDENCE, n_asked)
    work = Shards(
        EVIDENCE,
        range(len(shards)),
        done=lambda index: done_evidence(run, index),
        make=lambda index: make_evidence(run, index, shards[index]),
    )
    with run.timed(EVIDENCE):
        make_all(run, work)
    return read_evidence(run, len(shards))


def _begin(run: Run, stage: str, shard_rows: list[int]) -> None:
    done = sum(rows for index, rows in enumerate(shard_rows) if run.folder.done_path(stage, index).exists())
    run.progress.begin(stage, sum(shard_rows), done)
