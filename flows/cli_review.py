# SPDX-License-Identifier: Apache-2.0
"""The command `affectory review`: people rate a release, and what they heard is exported."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Rated(StrEnum):
    """What is rated."""

    text = "text"
    dialogue = "dialogue"
    audio = "audio"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("review")(review)


def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run, such as outputs/tiny.")],
    *,
    kind: Annotated[Rated, typer.Option("--kind", help="Rate utterances, turns of dialogues, or clips.")] = Rated.text,
    items: Annotated[int, typer.Option("--items", min=1, help="Items to rate, evenly over the labels.")] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Which items; the same for all who are to be compared.")] = 0,
    taxonomy: Annotated[
        str | None, typer.Option("--taxonomy", help="The release's taxonomy, if its file lies elsewhere now.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Let other machines in, with a token [default: this one alone].")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8421,
    export: Annotated[
        bool, typer.Option("--export", help="Write ratings.parquet and the card's figures instead of serving.")
    ] = False,
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", metavar="RATER", help="Export: do not count this rater.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Export: print JSON for machines instead of text.")] = False,
) -> None:
    """Serve a page on which people rate a release, or export what they answered. Ctrl-C ends it; answers stay."""
    from flows.review import export_ratings, open_review, serve

    if export:
        done = export_ratings(folder, leave_out=leave_out or (), taxonomy=taxonomy)
        if as_json:
            typer.echo(json.dumps(asdict(done) | {"path": str(done.path)}, ensure_ascii=False))
            return
        for rater, (checks, failed) in done.checks.items():
            typer.echo(f"{rater}: failed {failed} of {checks} checks")
        if done.outdated:
            typer.echo(f"{done.outdated} answers are to rows that the release holds no longer, and were left out.")
        typer.echo(f"{done.ratings} answers of {done.raters} raters: {done.path}")
        return
    with open_review(folder, kind.value, items=items, seed=seed, taxonomy=taxonomy) as opened:
        if len(opened.sampled) < items:
            typer.echo(f"The release holds {len(opened.sampled)} items of kind {kind.value}; all of them are rated.")
        serve(opened, title=folder.resolve().name, host=host, port=port, say=typer.echo)
        answers = opened.store.answers()
        raters = len({one.rater.name for one in answers})
        typer.echo(
            f"{len(answers)} answers of {raters} raters are stored. Export them: affectory review {folder} --export"
        )
