# SPDX-License-Identifier: Apache-2.0
"""The command `affectory publish`: a release goes to the Hugging Face Hub."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("publish")(publish)


def publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run, such as outputs/tiny.")],
    *,
    repo: Annotated[str, typer.Option("--repo", metavar="USER/NAME", help="Dataset repository; made if it is new.")],
    version: Annotated[
        str | None, typer.Option("--version", help="Tag of this version [default: v1, v2, ... as they come].")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private otherwise.")] = False,
    branch: Annotated[str, typer.Option("--branch", help="Branch that readers get.")] = "main",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="WHAT",
            help="A licence, or a kind of personal data (email, phone, card), that you have looked at.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Publish a release to the Hub: checked, in one commit, compared, tagged. HF_TOKEN says who you are."""
    from flows.publishing import publish as publish_release

    done = publish_release(
        folder, repo, version=version, public=public, branch=branch, allow=allow or (), dry_run=dry_run
    )
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    table = Table("what", "file", title=f"{done.repo}, {done.version}")
    for what, paths in (("add", done.adds), ("remove", done.removes)):
        for path in paths:
            table.add_row(what, path)
    console = Console()
    console.print(table)
    console.print(f"{done.unchanged} files are there already; {done.bytes / 1e6:.1f} MB to send.", highlight=False)
    if done.commit is None:
        console.print("Nothing was done. The same command without --dry-run publishes it.")
    else:
        console.print(
            f'Published as {done.commit[:12]}. Load it: datasets.load_dataset("{done.repo}")', highlight=False
        )
