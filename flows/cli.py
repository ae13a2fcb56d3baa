# SPDX-License-Identifier: Apache-2.0
"""The command line. Heavy imports happen inside the commands, so that `affectory --help` answers at once."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows import (
    cli_evaluate,
    cli_measure,
    cli_publish,
    cli_readers,
    cli_report,
    cli_review,
    cli_schedule,
    interrupts,
)
from validators.errors import AffectoryError

app = typer.Typer(
    help="Make verified synthetic emotion datasets from stories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(help="A YAML recipe, such as recipes/tiny.yaml.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated.")
]
Output = Annotated[Path | None, typer.Option("--output", help="Folder of the run [default: outputs/<name>].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]


@app.command()
def build(
    recipe: RecipePath,
    *,
    output: Output = None,
    settings: Settings = None,
    after: Annotated[
        list[Path] | None,
        typer.Option(
            "--after",
            metavar="DIR",
            help="An earlier version: repeat none of its rows, and keep its stories in their splits; the oldest first.",
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="The recipe changed: make the rows again, reusing replies that still fit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the dataset of a recipe, or go on with the one begun in its folder."""
    from flows.build import build as build_dataset
    from flows.progress import ConsoleProgress, SilentProgress
    from flows.recipe import load_recipe
    from flows.release import summary
    from flows.runs import read_inputs

    loaded = load_recipe(recipe, settings or [])
    inputs = read_inputs(loaded, after or ())
    root = output or Path("outputs") / loaded.name
    root.parent.mkdir(parents=True, exist_ok=True)
    if as_json:
        release = build_dataset(inputs, root, SilentProgress(), rebuild=rebuild)
        typer.echo(json.dumps(summary(release) | {"folder": str(release.folder)}, ensure_ascii=False))
        return
    with ConsoleProgress(_console()) as progress:
        release = build_dataset(inputs, root, progress, rebuild=rebuild)
    _print_release(release)


@app.command()
def plan(recipe: RecipePath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Say what a recipe would cost in calls, tokens, time and disk, before anything is spent."""
    from flows.estimates import estimate
    from flows.recipe import load_recipe
    from flows.runs import read_inputs

    figures = estimate(read_inputs(load_recipe(recipe, settings or [])))
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table("", "estimate", title="What this recipe would take")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,.0f}" if isinstance(value, float | int) else str(value))
    _console().print(table)


@app.command()
def check(
    folder: Annotated[str, typer.Argument(help="A finished run, such as outputs/tiny or s3://bucket/tiny.")],
    *,
    into: Annotated[
        Path | None, typer.Option("--into", help="Keep the release of an object store in this new folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a release: every file against the manifest, every page of every table."""
    from flows.fetching import check_release

    problems = check_release(folder, into)
    if as_json:
        typer.echo(json.dumps({"problems": problems}))
    else:
        for problem in problems:
            typer.echo(problem)
        if not problems:
            typer.echo(f"{folder}: every file is as the manifest says.")
    if problems:
        raise typer.Exit(1)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the model backends and packaged weights: what is installed, what is missing, how to get it."""
    from flows.packaged_weights import PACKAGED
    from generators.backends.registry import ROLES, is_installed

    rows = [
        (role, name, is_installed(backend), backend.description, backend.install)
        for role, backends in ROLES.items()
        for name, backend in backends.items()
    ]
    rows += [
        ("weights", name, all(find_spec(module) for module, _ in found.parts), found.name, found.install)
        for name, found in PACKAGED.items()
    ]
    if as_json:
        names = ("role", "name", "installed", "what", "install")
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
        return
    table = Table("role", "name", "installed", "what it is", "how to get it")
    for role, name, installed, what, install in rows:
        table.add_row(role, name, "yes" if installed else "no", what, "" if installed else install)
    _console().print(table)


cli_evaluate.register(app)
cli_readers.register(app)
cli_measure.register(app)
cli_publish.register(app)
cli_report.register(app)
cli_review.register(app)
cli_schedule.register(app)


def main() -> None:
    """Run the command line; every expected failure is told in full and ends with its own exit code."""
    interrupts.install()
    try:
        # commands return nothing; what comes back is the code of an Exit, of Ctrl-C too
        code = int(app(standalone_mode=False) or 0)
    except AffectoryError as error:
        typer.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = interrupts.INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        typer.echo(f"Error: {error.format_message()}", err=True)  # a usage error of typer: unknown option, missing file
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    if code == interrupts.INTERRUPTED:
        os._exit(code)  # engines decode on in their threads and would keep the process for minutes
    sys.exit(code)


def _console() -> Console:
    return Console()


def _print_release(release: "Release") -> None:  # type: ignore[name-defined]  # noqa: F821 - imported late
    console = _console()
    table = Table("label", "planned", "kept", "rejected", "commonest reasons", title="Rows by label")
    for row in release.yields.itertuples():
        table.add_row(row.label, str(row.planned), str(row.kept), str(row.rejected), row.reasons)
    table.add_section()
    table.add_row("all", str(release.planned), str(release.kept), str(release.rejected), "")
    console.print(table)
    reasons = Table("stage", "gate", "reason", "rows", title="Rejected rows by reason")
    for row in release.reasons.itertuples():
        reasons.add_row(row.stage, row.gate, row.reason, str(row.rows))
    console.print(reasons)
    if release.short:
        short = Table("label", "why", title="Labels with fewer rows than wanted")
        for label, why in sorted(release.short.items()):
            short.add_row(label, why)
        console.print(short)
    if release.dialogues:
        _print_dialogues(release.dialogues)
    if release.clips:
        _print_clips(release.clips)
    if release.usage:
        usage = release.usage
        console.print(
            f"{usage['calls']:.0f} model calls, {usage['stored_replies']:.0f} stored replies used, "
            f"{usage['completion_tokens']:.0f} tokens written in {usage['model_s']:.0f} s; "
            f"{usage['passages_read']:.0f} passages read blind in {usage['reader_s']:.0f} s. "
            f"A kept row took {usage['seconds_per_kept_row']:.1f} s, "
            f"{usage['tokens_per_kept_row']:.0f} tokens and {1 / max(usage['kept_per_call'], 1e-9):.1f} calls."
        )
    else:
        console.print("Nothing was left to do: no model was called.")
    typer.echo(f'Load it: datasets.load_dataset("{release.folder}")    Check it: affectory check {release.folder}')


def _print_dialogues(talked: "Talked") -> None:  # type: ignore[name-defined]  # noqa: F821 - imported late
    from validators.tables import reasons_table

    table = Table("stage", "gate", "reason", "dialogues", title="Rejected dialogues by reason")
    for row in reasons_table(talked.rejected.to_pandas()).itertuples():
        table.add_row(str(row.stage), str(row.gate), str(row.reason), str(row.rows))
    console = _console()
    console.print(table)
    console.print(
        f"{talked.kept.num_rows} dialogues of {talked.wanted} wanted were kept, {len(talked.planned)} written in "
        f"{talked.rounds} rounds. {talked.short}"
    )


def _print_clips(spoken: "Spoken") -> None:  # type: ignore[name-defined]  # noqa: F821 - imported late
    from validators.tables import reasons_table

    table = Table("stage", "gate", "reason", "clips", title="Rejected clips by reason")
    for row in reasons_table(spoken.rejected.to_pandas()).itertuples():
        table.add_row(str(row.stage), str(row.gate), str(row.reason), str(row.rows))
    console = _console()
    console.print(table)
    console.print(f"{spoken.kept.num_rows} clips of {len(spoken.planned)} made were kept. {spoken.short}")


if __name__ == "__main__":
    main()
