# SPDX-License-Identifier: Apache-2.0
"""The command `affectory plan`: what a recipe would take, by a short probe of its own models."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from flows.runs import Inputs

SHOWN = ("written", "kept", "calls", "prompt_tokens", "tokens_written", "minutes")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe, such as recipes/tiny.yaml.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the run [default: outputs/<name>].")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
    ] = None,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Make a handful of rows first, whose replies a build then uses, or reckon without any request "
            "[default: a probe, unless an earlier plan or run of this recipe lies in the folder].",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Say what a recipe would take in calls, tokens, time and disk, for text, dialogues and speech."""
    from flows.estimates import estimate
    from flows.recipe import load_recipe
    from flows.runs import read_inputs

    loaded = load_recipe(recipe, settings or [])
    inputs = read_inputs(loaded)
    root = output or Path("outputs") / loaded.name
    figures = estimate(inputs) if probe is False else _known(root, inputs, anew=probe is True)
    if figures is None:
        figures = _probed(root, inputs, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
        return
    _print(figures, inputs)


def _known(root: Path, inputs: "Inputs", *, anew: bool) -> Mapping[str, object] | None:
    """What an earlier plan of this recipe says, or an earlier run; None where there is neither."""
    from flows.estimates import estimate
    from flows.plan_file import learned_of, read_plan
    from flows.run_identity import WORK

    if anew:
        return None
    slots = sum(one.slots for one in (inputs.models.writer, *(other.chat for other in inputs.models.others.values())))
    if learned := learned_of(root / WORK, inputs, slots=slots):
        return estimate(inputs, learned)
    planned = read_plan(root / WORK, inputs)
    return planned if planned and planned.get("probed") else None


def _probed(root: Path, inputs: "Inputs", *, quiet: bool) -> Mapping[str, object]:
    """Probe, and keep prediction and replies in the folder of the run, unless a run is at work there."""
    from flows.estimates import estimate
    from flows.plan_file import plan_lock, write_plan
    from flows.probe import probe
    from flows.progress import ConsoleProgress, SilentProgress
    from flows.run_identity import REPLIES, WORK

    root.parent.mkdir(parents=True, exist_ok=True)
    with plan_lock(root) as kept:
        replies = root / WORK / REPLIES if kept else None
        if quiet:
            yields = probe(inputs, SilentProgress(), replies)
        else:
            with ConsoleProgress(Console()) as progress:
                yields = probe(inputs, progress, replies)
        figures = {**estimate(inputs, yields), "probed": True}
        if kept:
            write_plan(root / WORK, inputs, figures)
    return figures


def _print(figures: Mapping[str, object], inputs: "Inputs") -> None:
    console = Console()
    table = Table("", "estimate", title="What this recipe would take")
    for name, value in figures.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            table.add_row(name.replace("_", " "), f"{value:,}")
    console.print(table)
    stages = Table("stage", *(name.replace("_", " ") for name in SHOWN), title="By stage")
    found = figures.get("stages")
    for stage, row in found.items() if isinstance(found, Mapping) else ():
        stages.add_row(stage, *(f"{row[name]:,}" for name in SHOWN))
    console.print(stages)
    console.print(f"By {figures['source']}; {inputs.models.writer.slots} slots side by side.", highlight=False)
