# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset card that tells of dialogues."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.markdown import markdown_table
from flows.runs import Run
from validators.dialogue_schemas import DIALOGUE_COLUMNS


def dialogue_parts(run: Run, tables: Mapping[str, pa.Table], figures: Mapping[str, Any]) -> list[str]:
    """Render the sections on dialogues; `figures` are those of dialogue_quality.py."""
    rows, rates, judge = figures["rows"], figures["keep_rate"], figures["judge"]
    role = run.recipe.dialogues
    if role is None:
        raise TypeError("the recipe wants no dialogues")
    trajectories = figures["trajectories"]
    return [
        "## Dialogues",
        f"{rows['kept']} dialogues of two, {rows['planned']} written, {rows['rejected']} rejected. Each follows a "
        "planned trajectory: per turn an emotion and its intensity, with inertia, a baseline of the speaker, contagion "
        "from the other, and events; the writer was told the event behind each change. Turns that no candidate "
        "realised are kept as such (`realised` false); a dialogue is kept where at least "
        f"{role.adherence:.0%} of its turns are realised.",
        markdown_table(
            ["split", "dialogues", "turns", "from stories"],
            [
                [
                    split,
                    table.num_rows,
                    pc.sum(pc.list_value_length(table.column("turns"))).as_py(),
                    table.num_rows - table.column("story_id").null_count,
                ]
                for split, table in tables.items()
            ],
        ),
        markdown_table(
            ["figure", "value"],
            [
                ["kept", rate_text(rates["all"])],
                ["kept, grown from a story", rate_text(rates["from_stories"])],
                ["kept, grown from a domain", rate_text(rates["from_domains"])],
                ["turns realised at first", rate_text(figures["realised_at_first"])],
                ["turns realised in the end", rate_text(figures["realised"])],
                ["adherence of kept dialogues", _adherence(figures["adherence"])],
                ["emotions that occur", trajectories["occur"]],
                ["a speaker feels what they felt before", rate_text(trajectories["persistence"])],
                [
                    "judge and rules agree (kappa)",
                    "-" if not judge or judge["kappa"] is None else f"{judge['kappa']:.2f}",
                ],
            ],
        ),
        "### Turns by position",
        markdown_table(
            ["turn", "dialogues that came so far", "fell there", "realised at first", "realised in the end"],
            [
                [number, one["came"], one["fell"], rate_text(one["realised_at_first"]), rate_text(one["realised"])]
                for number, one in figures["turns"].items()
            ],
        ),
        "### Turns by emotion",
        markdown_table(
            ["emotion", "turns written", "realised at first", "realised in the end"],
            [
                [label, one["written"], rate_text(one["realised_at_first"]), rate_text(one["realised"])]
                for label, one in figures["emotions"].items()
            ],
        ),
        "### Dialogues kept by domain",
        markdown_table(["domain", "kept"], [[name, rate_text(rate)] for name, rate in rates["by_domain"].items()]),
        "### Dialogues kept by writers",
        markdown_table(
            ["first + second", "kept"], [[name, rate_text(rate)] for name, rate in rates["by_writers"].items()]
        ),
        "### Columns of dialogues",
        markdown_table(["column", "meaning"], [[name, text] for name, text in DIALOGUE_COLUMNS.items()]),
    ]


def rate_text(rate: Mapping[str, float] | None) -> str:
    """A rate with its interval, as cards show it."""
    return f"{rate['rate']:.0%} ({rate['low']:.0%} to {rate['high']:.0%}, n {rate['rows']})" if rate else "-"


def _adherence(adherence: Mapping[str, float] | None) -> str:
    return "-" if adherence is None else f"mean {adherence['mean']:.0%}, least {adherence['least']:.0%}"
