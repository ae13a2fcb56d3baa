# SPDX-License-Identifier: Apache-2.0
"""The command line. Heavy imports happen inside the commands, so that `affectory --help` answers at once."""

import json
import logging
import os
import sys
from contextlib import ExitStack
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows import (
    cli_evaluate,
    cli_measure,
    cli_plan,
    cli_publish,
    cli_readers,
    cli_report,
    cli_review,
    cli_schedule,
    interrupts,
    run_log,
)
from flows.imports import collector_at_rest
from validators.errors import AffectoryError

if TYPE_CHECKING:
    from flows.prefect_setup import Server
    from flows.recipe import Recipe

app = typer.Typer(
    help="Make verified synthetic emotion datasets from stories.",
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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"affectory {metadata.version('affectory')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    pass


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
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tell of every stage and shard.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the dataset of a recipe, or go on with the one begun in its folder."""
    from flows.prefect_setup import prefect_server

    if verbose:
        run_log.log_to_terminal(logging.INFO)
    with ExitStack() as stack:
        server: Server | None = stack.enter_context(prefect_server())  # first of all, since it takes the longest
        with collector_at_rest():
            from flows.recipe import load_recipe
            from flows.run_identity import MANIFEST

        loaded = load_recipe(recipe, settings or [])
        root = output or Path("outputs") / loaded.name
        if (root / MANIFEST).exists():  # then there is perhaps nothing to do
            stack.close()
            server = None
        _build(loaded, root, tuple(after or ()), server, rebuild=rebuild, as_json=as_json)


def _build(
    recipe: "Recipe", root: Path, after: tuple[Path, ...], server: "Server | None", *, rebuild: bool, as_json: bool
) -> None:
    with collector_at_rest():
        from flows.atomic import make_folders
        from flows.build import build as build_dataset
        from flows.cli_release import print_release
        from flows.progress import ConsoleProgress, SilentProgress
        from flows.runs import read_inputs

    inputs = read_inputs(recipe, after)
    make_folders(root.parent)
    if as_json:
        release = build_dataset(inputs, root, SilentProgress(), rebuild=rebuild, server=server)
        from flows.summary import summary

        typer.echo(json.dumps(summary(release) | {"folder": str(release.folder)}, ensure_ascii=False))
        return
    console = Console()
    with ConsoleProgress(console) as progress:
        release = build_dataset(inputs, root, progress, rebuild=rebuild, server=server)
    print_release(console, release)


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
    from flows import vllm_python
    from flows.packaged_weights import PACKAGED
    from generators.backends.registry import ROLES, is_installed

    rows = [
        (role, name, is_installed(backend), backend.description, backend.install)
        for role, backends in ROLES.items()
        for name, backend in backends.items()
    ]
    served = "vLLM's server, which a run starts (serve: true), in an environment of its own"
    rows.append(("writer", "vllm, served", vllm_python.is_there(), served, vllm_python.INSTALL))
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
    Console().print(table)


cli_plan.register(app)
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
    run_log.log_to_terminal(logging.WARNING)
    try:
        # commands return nothing; what comes back is the code of an Exit, of Ctrl-C too
        code = int(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except AffectoryError as error:
        typer.echo(f"Error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = interrupts.INTERRUPTED
    except Exception as error:
        if interrupts.came():
            code = interrupts.INTERRUPTED
        elif hasattr(error, "format_message"):  # a usage error of typer: unknown option, missing file
            typer.echo(f"Error: {error.format_message()}", err=True)
            code = 2
        else:
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    if code == interrupts.INTERRUPTED:
        os._exit(code)  # engines decode on in their threads and would keep the process for minutes
    sys.exit(code)


if __name__ == "__main__":
    main()
