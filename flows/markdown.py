# SPDX-License-Identifier: Apache-2.0
"""Tables and figures as cards write them."""

from collections.abc import Sequence

from validators.agreement import Interval


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Render a table."""
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    # a source is a stranger's text: a bar or a line end in it must not break the table
    lines += [
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines)


def interval_cells(found: Interval | None) -> list[str]:
    """Two cells: the estimate, and its interval."""
    return ["not measured", ""] if found is None else [number(found.estimate), f"{found.low:.3f} to {found.high:.3f}"]


def number(value: float | None) -> str:
    """Three digits, or that it was not measured."""
    return "not measured" if value is None else f"{value:.3f}"
