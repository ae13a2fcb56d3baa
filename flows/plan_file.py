# SPDX-License-Identifier: Apache-2.0
"""work/plan.json: what a run was predicted to take, kept so that the end of the run can say how true that was."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.atomic import storage_errors, write_bytes
from flows.dialogues import STAGE as DIALOGUES
from flows.estimates import estimate
from flows.run_identity import LOCK, PLAN, REPLIES, WORK, refuse_foreign
from flows.run_lock import RunLock
from flows.runs import Inputs, Run
from flows.sealed import sha256_of
from flows.speech import STAGE as SPEECH
from flows.spending import read_spending
from flows.utterances import STAGE as UTTERANCES
from flows.yields import Yields, learned_yields
from validators.errors import StorageError

log = logging.getLogger(__name__)

COMPARED = (
    "rows_written",
    "rows_kept",
    "dialogues_written",
    "dialogues_kept",
    "clips_made",
    "model_calls",
    "prompt_tokens",
    "tokens_written",
    "minutes",
    "megabytes_on_disk",
)


def plan_key(inputs: Inputs) -> str:
    """What a prediction is for: the recipe with its quotas, budgets and slots, and the models."""
    return sha256_of({"recipe": inputs.recipe.canonical(), "identity": inputs.identity})


def write_plan(work: Path, inputs: Inputs, predicted: Mapping[str, object]) -> None:
    """Keep a prediction in the folder of its run."""
    content = {"for": plan_key(inputs), "predicted": dict(predicted)}
    write_bytes(work / PLAN, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_plan(work: Path, inputs: Inputs) -> dict[str, object] | None:
    """Read the prediction for this very recipe; None where there is none."""
    path = work / PLAN
    if not path.exists():
        return None
    with storage_errors(path):
        text = path.read_bytes()
    try:
        content = json.loads(text)
        return dict(content["predicted"]) if content["for"] == plan_key(inputs) else None
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged: the run is compared with a prediction made anew", path)
        return None


@contextmanager
def plan_lock(root: Path) -> Iterator[bool]:
    """Hold the folder of a run to be, as a run would; False where a run is at work in it, and nothing is to be kept."""
    refuse_foreign(root)
    with storage_errors(root):
        root.mkdir(exist_ok=True)
    try:
        lock = RunLock(root / LOCK)
    except StorageError as error:
        log.warning("%s; neither plan nor replies are kept there", error.what)
        yield False
        return
    try:
        with storage_errors(root / WORK):
            (root / WORK).mkdir(exist_ok=True)
        yield True
    finally:
        lock.release()


def keep_plan(run: Run) -> None:
    """Have a prediction in the folder before the work begins: the one of `affectory plan`, or one made now."""
    work = run.folder.work
    if read_plan(work, run.inputs) is None:
        write_plan(work, run.inputs, estimate(run.inputs, learned_of(work, run.inputs, slots=run.n_slots)))


def learned_of(work: Path, inputs: Inputs, *, slots: int) -> Yields | None:
    """The yields of the run that lies in a folder, if it was finished."""
    return learned_yields(inputs, read_spending(work), slots=slots)


def compare_plan(run: Run) -> dict[str, object]:
    """Set what the run took, over all its commands, beside what was predicted; {} where nothing was."""
    predicted = read_plan(run.folder.work, run.inputs)
    if predicted is None:
        return {}
    actual = _actual(run)
    compared = {
        name: {
            "predicted": expected,
            "actual": actual[name],
            "ratio": round(expected / actual[name], 2) if actual[name] else None,
        }
        for name in COMPARED
        if isinstance(expected := predicted.get(name), int | float) and name in actual
    }
    return {"source": predicted.get("source", ""), "figures": compared}


def _actual(run: Run) -> dict[str, float]:
    spending, spent = run.spending, run.spent
    actual: dict[str, float] = {
        "model_calls": spent.calls,
        "prompt_tokens": spent.prompt_tokens,
        "tokens_written": spent.completion_tokens,
        "minutes": round(spending.wall_s / 60, 1),
        "megabytes_on_disk": round((folder_bytes(run.folder.root) + run.store.size) / 1e6, 1),
    }
    for stage, written, kept in (
        (UTTERANCES, "rows_written", "rows_kept"),
        (DIALOGUES, "dialogues_written", "dialogues_kept"),
        (SPEECH, "clips_made", "clips_kept"),
    ):
        if outcome := spending.outcomes.get(stage):
            actual |= {written: outcome.written, kept: outcome.kept}
    return actual


def folder_bytes(root: Path) -> int:
    """The bytes of all files below the folder of a run, but for the replies, of which a part is still in a log."""
    with storage_errors(root):
        return sum(
            path.stat().st_size
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.name.startswith(REPLIES)
        )
