# SPDX-License-Identifier: Apache-2.0
"""The command `affectory report`: a page about a release, or about two."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run, such as outputs/tiny.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[DIR2]", help="Another one, to compare the first one with.")
    ] = None,
) -> None:
    """Write a page about a release that a person can look at: report.html in its folder, and data_docs/."""
    from flows.report import compare_releases, write_report

    path = write_report(folder) if other is None else compare_releases(folder, other)
    typer.echo(f"Open it: {path}")
