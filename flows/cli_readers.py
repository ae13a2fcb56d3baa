# SPDX-License-Identifier: Apache-2.0
"""The command `affectory train-reader`: a blind reader from labelled texts."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from flows.train_reader import TrainedReader
    from validators.roles import Encoder
    from validators.taxonomy import Taxonomy

LINE_EVERY_S = 20.0  # in a log file; often enough to see that it lives
WORST = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train-reader")(train_reader)


def train_reader(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Labelled texts: a .tsv, .csv, .parquet or .jsonl, or hub:NAME@COMMIT."),
    ],
    *,
    taxonomy: Annotated[str, typer.Option("--taxonomy", help="A built-in taxonomy or a YAML file.")] = "goemotions",
    evaluation: Annotated[
        str, typer.Option("--eval", metavar="DATA", help="Labelled texts to measure the reader on; never trained on.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder of the reader, such as readers/goemotions.")],
    text: Annotated[str, typer.Option("--text", help="Column of the text.")] = "text",
    label: Annotated[
        str | None, typer.Option("--label", help="Column of the labels [default: label, labels, or one for each].")
    ] = None,
    label_map: Annotated[
        str | None, typer.Option("--label-map", help="YAML of 'theirs: ours' where labels are called otherwise.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the data, for the card.")] = None,
    encoder_package: Annotated[
        str | None, typer.Option("--encoder-package", help="Packaged encoder [default: all-minilm-l6-v2].")
    ] = None,
    encoder_path: Annotated[
        Path | None, typer.Option("--encoder-path", help="A sentence-transformers folder in its place.")
    ] = None,
    encoder_hub: Annotated[
        str | None, typer.Option("--encoder-hub", help="owner/name@commit of the Hub in its place.")
    ] = None,
    encoder_licence: Annotated[
        str, typer.Option("--encoder-licence", help="Licence of an encoder from a folder or the Hub.")
    ] = "",
    hashed: Annotated[bool, typer.Option("--hashed", help="No encoder but hashed words; for tests.")] = False,
    fairytaleqa: Annotated[
        Path | None, typer.Option("--fairytaleqa", help="Also compare with people's answers in this FairytaleQA clone.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Labels trained side by side.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the folds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Train a blind reader on labelled texts, measure it on others, and write it with its card."""
    from flows.labelled import LabelledSpec, read_labelled
    from flows.readers_store import refuse_occupied
    from flows.train_reader import train_reader as train
    from generators.readers.training import HeadSettings

    refuse_occupied(output)
    known = load_taxonomy_named(taxonomy)
    train_data, test_data = (
        read_labelled(
            LabelledSpec.parse(source, text=text, label=label, label_map=label_map, licence=licence), known.names
        )
        for source in (data, evaluation)
    )
    encoder, found_licence = _open_encoder(encoder_package, encoder_path, encoder_hub, encoder_licence, hashed=hashed)
    with TrainingDisplay(Console(stderr=as_json, quiet=as_json)) as display:
        trained = train(
            train_data,
            test_data,
            taxonomy=known,
            encoder=encoder,
            folder=output,
            encoder_licence=found_licence,
            settings=HeadSettings(threads=threads, seed=seed),
            fairytaleqa=fairytaleqa,
            on_step=display.step,
        )
    if as_json:
        typer.echo(json.dumps(_summary(trained), ensure_ascii=False, allow_nan=False))
        return
    _print(trained, Console())


class TrainingDisplay:
    """Bars on a terminal; elsewhere a line for each stage and now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line_s = 0.0

    def __enter__(self) -> "TrainingDisplay":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)
        now_s = time.monotonic()
        if self._bars.disable and (now_s - self._last_line_s >= LINE_EVERY_S or done in {0, total}):
            self._last_line_s = now_s
            self._console.print(f"{stage}: {done}/{total}")


def load_taxonomy_named(name: str) -> "Taxonomy":
    """Load a built-in taxonomy, or one from a YAML file."""
    from flows.strict_yaml import load_strict
    from validators.taxonomy import Taxonomy, builtin_taxonomy

    if "/" in name or name.endswith((".yaml", ".yml")):
        return load_strict(Path(name), Taxonomy)
    return builtin_taxonomy(name)


def _open_encoder(
    package: str | None, path: Path | None, hub: str | None, licence: str, *, hashed: bool
) -> tuple["Encoder", str]:
    """Open the encoder that is named, and say its licence."""
    from flows.models import cache_folder
    from flows.weights import WeightsSpec, resolve_weights
    from generators.backends.registry import open_encoder
    from generators.encoder import EncoderSettings
    from validators.errors import InputError

    if sum((package is not None, path is not None, hub is not None, hashed)) > 1:
        raise InputError(
            "Several encoders are named.",
            where="train-reader",
            next_step="Keep one of --encoder-package, --encoder-path, --encoder-hub and --hashed.",
        )
    if hashed:
        return open_encoder("hashed", EncoderSettings("hashed")), "Apache-2.0"
    if path is not None:
        spec = WeightsSpec(path=path, licence=licence)
    elif hub is not None:
        spec = WeightsSpec(hub=hub, licence=licence)
    else:
        spec = WeightsSpec(package=package or "all-minilm-l6-v2")
    found = resolve_weights(spec, cache=cache_folder())
    return open_encoder("sentence", EncoderSettings(found.name, found.revision, found.path)), found.licence


def _summary(trained: "TrainedReader") -> dict[str, object]:
    return {
        "folder": str(trained.folder),
        "model": trained.reader.model,
        "agreement": trained.agreement.as_json(),
        "fairytaleqa": None if trained.feelings is None else trained.feelings.as_json(),
    }


def _print(trained: "TrainedReader", console: Console) -> None:
    figures = trained.agreement
    table = Table("figure", "value", "95 % interval", title="Agreement with people")
    for name, found in (
        ("macro AUC", figures.macro_auc),
        ("macro F1", figures.macro_f1),
        ("micro F1", figures.micro_f1),
    ):
        if found is not None:
            table.add_row(name, f"{found.estimate:.3f}", f"{found.low:.3f} to {found.high:.3f}")
    for name, value in (
        ("calibration error, pooled", figures.calibration_error),
        ("calibration error, mean over labels", figures.macro_calibration_error),
    ):
        if value is not None:
            table.add_row(name, f"{value:.4f}", "")
    console.print(table)
    measured = [(one.f1, label) for label, one in figures.per_label.items() if one.f1 is not None]
    worst = ", ".join(f"{label} {f1:.2f}" for f1, label in sorted(measured)[:WORST])
    console.print(f"Lowest F1: {worst}.")
    if figures.one_class:
        console.print(f"Not measured, no row or every row has them: {', '.join(figures.one_class)}.")
    if trained.feelings is not None:
        told = trained.feelings
        auc = "not measured" if told.macro_auc is None else f"{told.macro_auc:.3f}"
        console.print(
            f"FairytaleQA, {told.feelings} feelings: macro AUC {auc}; the label that people gave is among the first "
            f"three in {told.top_3:.1%}, centred {told.top_3_centred:.1%} (always the commonest: {told.common_3:.1%})."
        )
    typer.echo(f"Written to {trained.folder}    Its card: {trained.folder / 'README.md'}")
