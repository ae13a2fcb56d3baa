# SPDX-License-Identifier: Apache-2.0
"""What the end of a build prints: what became of the rows, what it cost, how true the plan was, and what to do next."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from flows.dialogue_rounds import Talked
    from flows.release import Release
    from flows.speech import Spoken


def print_release(console: Console, release: "Release") -> None:
    """Print the tables of a release and the next steps."""
    _print_rows(console, release)
    if release.dialogues:
        _print_dialogues(console, release.dialogues)
    if release.clips:
        _print_clips(console, release.clips)
    _print_usage(console, release)
    for line in next_steps(release):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _print_rows(console: Console, release: "Release") -> None:
    table = Table("label", "planned", "kept", "rejected", "commonest reasons", title="Rows by label")
    for row in release.yields.itertuples():
        table.add_row(str(row.label), str(row.planned), str(row.kept), str(row.rejected), str(row.reasons))
    table.add_section()
    table.add_row("all", str(release.planned), str(release.kept), str(release.rejected), "")
    console.print(table)
    _print_reasons(console, "rows", release.reasons)
    if release.short:
        short = Table("label", "why", title="Labels with fewer rows than wanted")
        for label, why in sorted(release.short.items()):
            short.add_row(label, why)
        console.print(short)


def _print_reasons(console: Console, what: str, reasons: "pd.DataFrame") -> None:
    """Why rows were rejected, where any were."""
    table = Table("stage", "gate", "reason", what, title=f"Rejected {what} by reason")
    for row in reasons.itertuples():
        table.add_row(str(row.stage), str(row.gate), str(row.reason), str(row.rows))
    if table.row_count:
        console.print(table)


def _print_usage(console: Console, release: "Release") -> None:
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
    if release.stages:
        console.print(_stages(release))
    if figures := release.plan.get("figures"):
        console.print(_compared(figures))


def _print_dialogues(console: Console, talked: "Talked") -> None:
    from validators.tables import reasons_table

    _print_reasons(console, "dialogues", reasons_table(talked.rejected.to_pandas()))
    console.print(
        f"{talked.kept.num_rows} dialogues of {talked.wanted} wanted were kept, {len(talked.planned)} written in "
        f"{talked.rounds} rounds. {talked.short}"
    )


def _print_clips(console: Console, spoken: "Spoken") -> None:
    from validators.tables import reasons_table

    _print_reasons(console, "clips", reasons_table(spoken.rejected.to_pandas()))
    console.print(f"{spoken.kept.num_rows} clips of {len(spoken.planned)} made were kept. {spoken.short}")


def next_steps(release: "Release") -> list[str]:
    """What to do with a finished release, as commands."""
    folder = release.folder
    steps = [
        ("look at it", f"affectory report {folder}"),
        ("check its files", f"affectory check {folder}"),
        ("have people rate it", f"affectory review {folder}"),
        ("load it", f'datasets.load_dataset("{folder}")'),
        ("publish it", f"affectory publish {folder} --repo USER/NAME --dry-run"),
    ]
    if release.short and release.usage:
        steps.append(("have it go on", "raise budget, tries or rows in the recipe and build it again"))
    width = max(len(what) for what, _ in steps)
    return ["Next:", *(f"  {what:<{width}}  {command}" for what, command in steps)]


def _stages(release: "Release") -> Table:
    table = Table("stage", "minutes", "engine had work", "requests in flight", title="Time by stage")
    for stage, took in release.stages.items():
        is_engine = took.load.busy_s > 0
        table.add_row(
            stage.replace("_", " "),
            f"{took.wall_s / 60:.1f}",
            f"{took.engine_share:.0%}" if is_engine else "",
            f"{took.mean_slots:.1f} of {took.slots}" if is_engine else "",
        )
    return table


def _compared(figures: object) -> Table:
    table = Table("", "predicted", "actual", "ratio", title="What was predicted, and what it took")
    for name, row in figures.items() if isinstance(figures, Mapping) else ():
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        table.add_row(name.replace("_", " "), f"{row['predicted']:,}", f"{row['actual']:,}", ratio)
    return table
