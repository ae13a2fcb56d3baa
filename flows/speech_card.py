# SPDX-License-Identifier: Apache-2.0
"""The part of a dataset card that tells of clips."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.dialogue_card import rate_text
from flows.markdown import markdown_table
from flows.runs import Run
from generators.speech.audio import TURN_GAPS_S
from validators.speech_schemas import CLIP_COLUMN_DESCRIPTIONS, RECORDING_COLUMN_DESCRIPTIONS


def speech_parts(
    run: Run, tables: Mapping[str, pa.Table], recordings: Mapping[str, pa.Table], figures: Mapping[str, Any]
) -> list[str]:
    """Render the sections on clips and recordings, given by split; `figures` are those of clip_quality.py."""
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
                *(
                    [["intended emotion heard by the listener for emotion, where it knows the label", rate_text(heard)]]
                    if (heard := figures["realised"])
                    else []
                ),
                ["distance from what was asked, median (just noticeable differences)", _median(figures["distance"])],
            ],
        ),
        *_recordings(tables, recordings, figures),
        "### Asked and measured delivery",
        markdown_table(
            ["dimension", "correlation over clips"],
            [[name, "-" if r is None else f"{r:.2f}"] for name, r in figures["asked_and_measured"].items()],
        ),
        *_contrasts(figures["contrasts"]),
        "### Columns of clips",
        markdown_table(["column", "meaning"], [[name, text] for name, text in CLIP_COLUMN_DESCRIPTIONS.items()]),
    ]


def _recordings(
    clips: Mapping[str, pa.Table], recordings: Mapping[str, pa.Table], figures: Mapping[str, Any]
) -> list[str]:
    """The section on whole dialogues; [] where none was to be said."""
    if "recordings" not in figures:
        return []
    said, whole = (
        {str(value) for table in tables.values() for value in table.column("dialogue_id").unique().to_pylist() if value}
        for tables in (clips, recordings)
    )
    return [
        "### Recordings of dialogues",
        f"{figures['recordings']} recordings of {len(whole)} dialogues hold the clips of all turns, with gaps of "
        f"{TURN_GAPS_S[0]:g} to {TURN_GAPS_S[1]:g} seconds, and tell where each turn lies. {len(said - whole)} "
        "dialogues with clips have none, since a turn has no kept clip.",
        markdown_table(["column", "meaning"], [[name, text] for name, text in RECORDING_COLUMN_DESCRIPTIONS.items()]),
    ]


def _contrasts(contrasts: Mapping[str, Any]) -> list[str]:
    """The section on whether feelings differ in the sound; [] where nothing could be compared."""
    further = contrasts["strong_further_than_mild"]
    apart = {name: found for name, found in contrasts.items() if found and "chance" in found}
    parts = []
    if further:
        parts.append(
            "The strong clip of a text, voice and label lies further from neutral in the asked direction than the mild "
            f"one in {rate_text(further)} of the pairs."
        )
    if apart:
        parts.append(
            "Feelings told apart by the measured differences alone, by nearest centroids on voices that they were not "
            "fitted on (balanced accuracy):"
        )
        rows = [
            [name.replace("_", " "), one["clips"], f"{one['balanced_accuracy']:.2f}", f"{one['chance']:.2f}"]
            for name, one in apart.items()
        ]
        parts.append(markdown_table(["what", "clips", "accuracy", "by chance"], rows))
    return ["### Contrasts", *parts] if parts else []


def _good(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None else rate_text(figure["good"])


def _median(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None else f"{figure['median']:.2f}"
