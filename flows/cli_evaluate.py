# SPDX-License-Identifier: Apache-2.0
"""The command `affectory evaluate`: train on synthetic, test on real."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from flows.lessons import StudentPlan
    from flows.weights import ResolvedWeights
    from generators.backends.finetune import OnStep
    from validators.labelled import LabelledTexts
    from validators.roles import Encoder, Reader
    from validators.taxonomy import Taxonomy

STEP_EVERY_S = 15.0  # between two lines of a long training
FILE_COLUMNS = 160  # in a file or pipe, whose width nobody can tell


class StudentName(StrEnum):
    """Which students can be trained."""

    LINEAR = "linear"
    FINETUNED = "finetuned"


class SplitName(StrEnum):
    """Which rows of the release are learnt from."""

    ALL = "all"
    TRAIN = "train"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A release, such as outputs/tiny.")],
    *,
    on: Annotated[
        str,
        typer.Option(
            "--on", metavar="DATA", help="Real labelled texts to test on: a file, or hub:owner/name@commit:split."
        ),
    ],
    real_train: Annotated[
        str | None, typer.Option("--real-train", metavar="DATA", help="Real labelled texts to compare training with.")
    ] = None,
    text: Annotated[str, typer.Option("--text", help="Column of the text in DATA.")] = "text",
    label: Annotated[
        str | None, typer.Option("--label", help="Column of the labels in DATA [default: label, labels, emotion...].")
    ] = None,
    label_map: Annotated[
        str | None, typer.Option("--label-map", help="YAML file from the labels of DATA to those of the release.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="DIR", help="A second release, compared at equal size.")
    ] = None,
    students: Annotated[
        str, typer.Option("--students", help="linear (seconds), finetuned (minutes to hours), or linear,finetuned.")
    ] = StudentName.LINEAR.value,
    split: Annotated[
        SplitName,
        typer.Option("--split", help="all: every row of the release; train: without its validation and test rows."),
    ] = SplitName.ALL,
    taxonomy: Annotated[
        str | None, typer.Option("--taxonomy", help="Labels of the release [default: as its run.json says].")
    ] = None,
    encoder: Annotated[
        str,
        typer.Option("--encoder", help="A packaged model, a folder of safetensors, owner/name@commit, or hashed."),
    ] = "all-minilm-l6-v2",
    all_real: Annotated[
        bool, typer.Option("--all-real", help="Fine-tune on all real rows too; an hour or more for GoEmotions.")
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads for fine-tuning.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of folds, samples, resamples and fine-tuning.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write the figures to this JSON file [default: only print].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Train students on a release and test them on real texts, beside real training data and baselines."""
    from flows.atomic import refuse_symlink, write_bytes
    from flows.evaluate import EvaluateSettings
    from flows.evaluate import evaluate as run_evaluation
    from flows.evaluation import differences_table, labels_table, results_table
    from flows.lessons import Materials
    from flows.synthetic_rows import read_synthetic, release_taxonomy
    from generators.remembered import RememberingEncoder

    wanted = _students(students)
    if output is not None:
        _refuse_release_file(output)
    labels_of = release_taxonomy(folder, taxonomy)
    materials = Materials(
        release=read_synthetic(folder, labels_of.names, split.value),
        test=_labelled(on, labels_of, text=text, label=label, label_map=label_map),
        real_train=None
        if real_train is None
        else _labelled(real_train, labels_of, text=text, label=label, label_map=label_map),
        against=None if against is None else read_synthetic(against, labels_of.names, split.value),
    )
    weights = _weights(encoder)
    console = Console(quiet=as_json)
    if not console.is_terminal:
        console = Console(quiet=as_json, width=FILE_COLUMNS)
    told = _Lines(console)
    remembered = RememberingEncoder(_open_encoder(weights), told.encoded)
    plans = [
        _plan(name, remembered, weights, all_real=all_real, threads=threads, seed=seed, on_step=told.step)
        for name in wanted
    ]
    found = run_evaluation(
        materials,
        plans,
        remembered,
        _zero_shot(labels_of, remembered),
        EvaluateSettings(seed=seed),
        tell=told.line,
    )
    content = json.dumps(found.as_json(), ensure_ascii=False, indent=1, allow_nan=False)
    if output is not None:
        refuse_symlink(output)
        write_bytes(output, content.encode() + b"\n")
    if as_json:
        typer.echo(content)
        return
    console.print(results_table(found))
    if found.differences:
        console.print(differences_table(found))
    console.print(labels_table(found))
    console.print(f"{len(found.contamination)} test rows repeat a row of the release and were dropped.")
    for one in found.contamination:
        console.print(f"  test row {one.test_id}: {one.train_id} ({one.kind}, {one.similarity:.3f})")
    if found.real_rows_dropped:
        console.print(f"{found.real_rows_dropped} real training rows repeat a test row; no student saw them.")
    for what, why in found.unavailable.items():
        console.print(f"Left out: {what}: {why}.")
    if output is not None:
        console.print(f"Written to {output}")


class _Lines:
    """What the user sees while it works."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._encoded = 0
        self._last_s = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, style="dim")

    def encoded(self, count: int) -> None:
        """Count encoded texts."""
        self._encoded += count
        self._now_and_then(f"{self._encoded} texts encoded")

    def step(self, step: int, steps: int, loss: float) -> None:
        """Tell of a long training."""
        self._now_and_then(f"step {step} of {steps}, loss {loss:.3f}")

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._last_s >= STEP_EVERY_S:
            self._last_s = time.monotonic()
            self.line(f"  {text}")


def _students(names: str) -> list[StudentName]:
    from validators.errors import InputError
    from validators.problems import did_you_mean

    known = [name.value for name in StudentName]
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in wanted:
        if name not in known:
            raise InputError(f"student {name!r} is unknown. {did_you_mean(name, known)}", where="--students")
    if not wanted:
        raise InputError("no student is named", where="--students", next_step=f"Known: {', '.join(known)}.")
    return [StudentName(name) for name in wanted]


def _refuse_release_file(output: Path) -> None:
    """Keep the figures out of what a manifest vouches for."""
    from flows.run_identity import CARD, DATA, MANIFEST, RUN_JSON
    from validators.errors import InputError

    if output.name in {CARD, MANIFEST, RUN_JSON} or DATA in output.resolve().parent.parts[-2:]:
        raise InputError(
            "the figures would lie among the files of a release",
            where=str(output),
            next_step="Name a file beside them, such as outputs/tiny/evaluation.json.",
        )


def _labelled(
    source: str, taxonomy: "Taxonomy", *, text: str, label: str | None, label_map: str | None
) -> "LabelledTexts":
    from flows.labelled import LabelledSpec, read_labelled

    return read_labelled(LabelledSpec.parse(source, text=text, label=label, label_map=label_map), taxonomy.names)


def _weights(encoder: str) -> "ResolvedWeights | None":
    """Find the encoder's weights; None for the hashed double."""
    if encoder == "hashed":
        return None
    from flows.models import cache_folder
    from flows.packaged_weights import PACKAGED
    from flows.weights import WeightsSpec, resolve_weights

    if encoder in PACKAGED:
        spec = WeightsSpec(package=encoder)
    elif "@" in encoder:
        spec = WeightsSpec(hub=encoder)
    else:
        spec = WeightsSpec(path=Path(encoder))
    return resolve_weights(spec, cache=cache_folder())


def _open_encoder(weights: "ResolvedWeights | None") -> "Encoder":
    from generators.backends.registry import open_encoder
    from generators.encoder import EncoderSettings

    if weights is None:
        return open_encoder("hashed", EncoderSettings("hashed"))
    return open_encoder("sentence", EncoderSettings(weights.name, weights.revision, weights.path))


def _plan(
    name: StudentName,
    encoder: "Encoder",
    weights: "ResolvedWeights | None",
    *,
    all_real: bool,
    threads: int,
    seed: int,
    on_step: "OnStep",
) -> "StudentPlan":
    from flows.lessons import StudentPlan
    from generators.backends.finetune import FinetuneSettings
    from generators.students import FinetunedStudent, LinearStudent
    from validators.errors import InputError

    if name is StudentName.LINEAR:
        return StudentPlan(LinearStudent(encoder, seed=seed), folds=5, samples=5, all_real=True)
    if weights is None:
        raise InputError(
            "the hashed encoder cannot be fine-tuned", next_step="Give --encoder, or --students linear alone."
        )
    student = FinetunedStudent(weights.path, FinetuneSettings(seed=seed, threads=threads), on_step)
    # each fold and sample is one more training, of minutes
    return StudentPlan(student, folds=2, samples=1, all_real=all_real)


def _zero_shot(taxonomy: "Taxonomy", encoder: "Encoder") -> "Reader":
    from generators.readers.descriptions import DescriptionsReader

    return DescriptionsReader(encoder, taxonomy)
