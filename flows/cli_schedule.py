# SPDX-License-Identifier: Apache-2.0
"""The command `affectory schedule`: the next version of a dataset, made and published without anyone typing."""

from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from validators.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schedule")(schedule)


def schedule(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe, such as recipes/tiny.yaml.")],
    *,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="'M H D M W'", help="When: '0 3 * * 1' is Mondays at three.")
    ] = None,
    every: Annotated[float | None, typer.Option("--every", min=1, metavar="SECONDS", help="Or: how often.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Or: make one version now, for a scheduler of your own.")
    ] = False,
    timezone: Annotated[str, typer.Option("--timezone", help="Of the cron times, such as Europe/Berlin.")] = "UTC",
    versions: Annotated[
        Path | None, typer.Option("--versions", metavar="DIR", help="Folder of all versions [outputs/<name>-versions].")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
    ] = None,
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="USER/NAME", help="Publish what passes there; nowhere otherwise.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private otherwise.")] = False,
    branch: Annotated[str, typer.Option("--branch", help="Branch that readers get.")] = "main",
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="WHAT", help="A licence or kind of personal data that you have looked at."),
    ] = None,
) -> None:
    """Make version after version of a dataset: no row twice, stories in their splits, published where it passes."""
    from flows.prefect_setup import prefect_api, prefect_server
    from flows.recipe import load_recipe

    if sum((cron is not None, every is not None, once)) != 1:
        raise InputError("When?", where="affectory schedule", next_step="give one of --cron, --every and --once")
    loaded = load_recipe(recipe, settings or [])  # what is wrong with it is told now, and not on Monday at three
    root = (versions or Path("outputs") / f"{loaded.name}-versions").resolve()
    parameters: dict[str, Any] = {
        "recipe": str(recipe.resolve()),
        "versions": str(root),
        "settings": settings or [],
        "repo": repo,
        "public": public,
        "branch": branch,
        "allow": allow or [],
    }
    with prefect_server(schedules=True) as server, prefect_api(server):
        from flows.scheduled import next_version

        if once:
            typer.echo(f"Version {next_version(**parameters)} is in {root}.")
            return
        from prefect.flows import serve
        from prefect.types.entrypoint import EntrypointType

        deployment: Any = next_version.to_deployment(
            name=loaded.name,
            schedule=_schedule(cron, every, timezone),
            parameters=parameters,
            concurrency_limit=1,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        when = f"at {cron} ({timezone})" if cron else f"every {every:g} s"
        typer.echo(f"Versions of {loaded.name} are made {when} in {root}. Ctrl-C ends it; the same command goes on.")
        serve(deployment, limit=1, print_starting_message=False)


def _schedule(cron: str | None, every: float | None, timezone: str) -> "Schedule":  # type: ignore[name-defined]  # noqa: F821 - imported late
    """The schedule in Prefect's terms; raises InputError where it is none."""
    from prefect.schedules import Cron, Interval

    try:
        ZoneInfo(timezone)
        return Cron(cron, timezone=timezone) if cron is not None else Interval(every or 0)
    except (ValueError, KeyError) as error:  # a KeyError is a ZoneInfoNotFoundError
        raise InputError(
            f"This is no schedule: {error}",
            where="affectory schedule",
            next_step="--cron takes five fields, such as '0 3 * * 1', and --every seconds; --timezone a name of the "
            "IANA list, such as Europe/Berlin",
        ) from None
