# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset card that tells of clips."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.dialogue_card import rate_text
from flows.markdown import markdown_table
from flows.runs import Run
from validators.speech_schemas import CLIP_COLUMN_DESCRIPTIONS


def speech_parts(run: Run, tables: Mapping[str, pa.Table], figures: Mapping[str, Any]) -> list[str]:
    """Render the sections on clips; `figures` are those of clip_quality.py."""
    role, rows = run.recipe.speech, figures["rows"]
    if role is None:
        raise TypeError("the recipe wants no speech")
    engines = sorted({str(value) for table in tables.values() for value in table.column("engine").unique().to_pylist()})
    return [
        "## Clips",
        f"{rows['kept']} clips of utterances and turns ({figures['seconds'] / 60:.1f} minutes), {rows['planned']} "
        f"made, {rows['rejected']} rejected, by {', '.join(f'`{engine}`' for engine in engines)}. **All voices are "
        "synthetic.** A label and its intensity ask for a delivery (pitch, range, rate, energy, tilt, level, pauses, "
        "breath, as differences from the voice's neutral); of up to "
        f"{role.takes} takes the one is kept that passes all gates and comes nearest to it. `measured` and `neutral` "
        "are measurements of the sound: they tell that a clip differs as it was asked to, not that a person hears the "
        "emotion.",
        markdown_table(
            ["split", "clips", "speakers", "voices"],
            [
                [
                    split,
                    table.num_rows,
                    len(set(zip(*(table.column(name).to_pylist() for name in ("story_id", "speaker")), strict=True))),
                    pc.count_distinct(table.column("voice")).as_py(),
                ]
                for split, table in tables.items()
            ],
        ),
        markdown_table(
            ["figure", "value"],
            [
                ["kept", rate_text(figures["keep_rate"])],
                ["passed at the first take", rate_text(figures["passed_at_first"])],
                ["no word heard wrong", _good(figures["wer"])],
                ["DNSMOS at least 3.0", _good(figures["dnsmos"])],
                ["DNSMOS, median", _median(figures["dnsmos"])],
                ["similarity to the voice's neutral at least 0.80", _good(figures["speaker_similarity"])],
                ["distance from what was asked, median (just noticeable differences)", _median(figures["distance"])],
            ],
        ),
        "### Asked and measured delivery",
        markdown_table(
            ["dimension", "correlation over clips"],
            [[name, "-" if r is None else f"{r:.2f}"] for name, r in figures["asked_and_measured"].items()],
        ),
        "### Columns of clips",
        markdown_table(["column", "meaning"], [[name, text] for name, text in CLIP_COLUMN_DESCRIPTIONS.items()]),
    ]


def _good(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None else rate_text(figure["good"])


def _median(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None else f"{figure['median']:.2f}"
