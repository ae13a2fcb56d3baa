# SPDX-License-Identifier: Apache-2.0
"""The command `affectory measure-reader`: how far the reader of a recipe agrees with people."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli_evaluate import FILE_COLUMNS
from flows.cli_readers import TrainingDisplay

if TYPE_CHECKING:
    from flows.measured_reader import Measured


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("measure-reader")(measure_reader)


def measure_reader(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe whose reader is measured.")],
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Labelled texts: a .tsv, .csv, .parquet or .jsonl, or hub:NAME@COMMIT."),
    ],
    *,
    fit: Annotated[
        str | None, typer.Option("--fit", metavar="DATA", help="Other labelled texts, to fit an ensemble's weights on.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=28, help="Rows read of each DATA; a Chat reader takes seconds for one.")
    ] = 400,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for card and weights, such as readers/mine.")
    ] = None,
    text: Annotated[str, typer.Option("--text", help="Column of the text.")] = "text",
    label: Annotated[
        str | None, typer.Option("--label", help="Column of the labels [default: label, labels, or one for each].")
    ] = None,
    label_map: Annotated[
        str | None, typer.Option("--label-map", help="YAML of 'theirs: ours' where labels are called otherwise.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the data, for the card.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the rows that are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Measure the reader of a recipe on labelled texts; fit an ensemble's weights on others."""
    from flows.labelled import LabelledSpec, read_labelled
    from flows.measured_reader import measure_reader as measure
    from flows.measured_reader import save_measured
    from flows.models import Models
    from flows.readers import ReaderNeeds, open_members
    from flows.readers_store import refuse_occupied
    from flows.recipe import load_recipe, load_taxonomy
    from validators.errors import InputError

    if output is not None:
        refuse_occupied(output)
    loaded = load_recipe(recipe, settings or [])
    if loaded.reader.backend == "none":
        raise InputError("the recipe has no reader", where="reader", next_step="name one, or leave the key out")
    taxonomy = load_taxonomy(loaded)
    found = [
        None
        if source is None
        else read_labelled(
            LabelledSpec.parse(source, text=text, label=label, label_map=label_map, licence=licence), taxonomy.names
        )
        for source in (data, fit)
    ]
    evaluation, lessons = found
    if evaluation is None:
        raise ValueError("labelled texts without a name were not refused")
    models = Models.of(loaded)
    try:
        needs = ReaderNeeds(taxonomy, models.writer, models.open_encoder)
        readers = open_members(models.reader, needs)
        with TrainingDisplay(Console(stderr=as_json, quiet=as_json)) as display:
            measured = measure(readers, evaluation, fit=lessons, rows=rows, seed=seed, on_step=display.step)
    finally:
        models.close()
        models.writer.close()
    if output is not None:
        save_measured(
            output,
            models.reader.version,
            readers,
            measured,
            taxonomy=taxonomy,
            evaluation=evaluation,
            fit=lessons,
        )
    if as_json:
        figures = {name: one.as_json() for name, one in measured.figures.items()}
        typer.echo(json.dumps(figures, ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    _print(measured, console if console.is_terminal else Console(width=FILE_COLUMNS), output)


def _print(measured: "Measured", console: Console, output: Path | None) -> None:
    table = Table("reader", "macro AUC", "macro F1", "first right", "in first three", title="Agreement with people")
    for name, one in measured.figures.items():
        told = [
            "-" if found is None else f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"
            for found in (one.macro_auc, one.macro_f1)
        ]
        told += ["-" if share is None else f"{share:.3f}" for share in (one.top_1_accuracy, one.top_3_accuracy)]
        table.add_row(name, *told)
    console.print(table)
    if output is not None and measured.blend is not None:
        console.print(f"Name it in the recipe, beside its members: path: {output}", soft_wrap=True)
