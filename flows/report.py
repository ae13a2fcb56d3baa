# SPDX-License-Identifier: Apache-2.0
"""`affectory report`: one HTML file that shows what a release holds and how it came about, or two beside each other.

All that it shows was measured by the build (quality.json, work/summary.json, work/judgement.json) or stands in the
tables. Text of models and stories is escaped, and the page may run no script and load nothing.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from flows.atomic import write_bytes
from flows.data_docs import write_data_docs
from flows.manifest import verify_release
from flows.report_parts import Measured, Section, Table, figure_text, rate_of
from flows.report_sections import confusion_section, labels_section, sections_of
from flows.run_identity import QUALITY, REPORT, WORK
from validators.errors import InputError


def write_report(root: Path) -> Path:
    """Write the report of a finished release beside it, with the Data Docs that it links, and give its path."""
    measured = _read(root)
    write_data_docs(measured)
    path = root / REPORT
    write_bytes(path, _render(root.name, _lead(measured), _tiles(measured), sections_of(measured)).encode())
    return path


def compare_releases(before: Path, after: Path) -> Path:
    """Write a report of two releases beside each other into the second one's folder, and give its path."""
    old, new = _read(before), _read(after)
    rows = [
        (name, figure_text(one), figure_text(other), _change(one, other))
        for (name, one), (_, other) in zip(_figures(old), _figures(new), strict=True)
    ]
    sections = [
        Section("Figures", tables=(Table(("figure", before.name, after.name, "change"), tuple(rows), (1, 2, 3)),)),
        *(
            Section(
                f"{one.root.name}: {part.title.lower()}",
                texts=part.texts,
                figures=part.figures,
            )
            for one in (old, new)
            for part in (labels_section(one), confusion_section(one))
            if part.figures
        ),
    ]
    path = after / f"report-from-{before.name}.html"
    lead = f"What changed from {before.name} to {after.name}."
    write_bytes(path, _render(f"{before.name} and {after.name}", lead, [], sections).encode())
    return path


def _read(root: Path) -> Measured:
    """Read what the build measured; a release that is not whole has no report."""
    if problems := verify_release(root):
        raise InputError(
            f"{root} is no finished release: {problems[0]}", where=str(root), next_step="build it first, or build again"
        )
    work = {
        name: json.loads(path.read_bytes()) if (path := root / WORK / f"{name}.json").exists() else {}
        for name in ("summary", "judgement")
    }
    return Measured(root, json.loads((root / QUALITY).read_bytes()), work["summary"], work["judgement"])


def _render(title: str, lead: str, tiles: Sequence[Mapping[str, str]], sections: Sequence[Section]) -> str:
    from jinja2 import Environment

    template = (files("flows") / "templates" / "report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(title=title, lead=lead, tiles=tiles, sections=sections)


def _lead(measured: Measured) -> str:
    rows = measured.quality["rows"]
    return (
        f"{rows['planned']} utterances were written, {rows['kept']} kept and {rows['rejected']} rejected. All text is "
        "synthetic; what a reader heard is a model's judgement. Intervals are 95 % (Wilson)."
    )


def _tiles(measured: Measured) -> list[dict[str, str]]:
    """The few figures at the top."""
    wanted = ("utterances kept", "heard at first", "heard in the end", "dialogues kept", "clips kept")
    return [
        {"name": name, "value": figure_text(value)} for name, value in _figures(measured) if name in wanted and value
    ]


def _figures(measured: Measured) -> list[tuple[str, Any]]:
    """Name and value of the figures that releases are compared by; None where one has none."""
    quality = measured.quality
    dialogues, clips = quality.get("dialogues", {}), quality.get("clips", {})
    diversity = quality["diversity"]["overall"] or {}
    return [
        ("utterances kept", quality["rows"]["kept"]),
        ("utterances written", quality["rows"]["planned"]),
        ("labels", sum(bool(label["kept"]) for label in quality["per_label"].values())),
        ("heard at first", rate_of(quality["realised_at_first"])),
        ("heard in the end", rate_of(quality["realised"])),
        ("with context and rewriting", (quality.get("contextual") or {}).get("rows")),
        ("distinct-2", diversity.get("distinct_2")),
        ("self-BLEU", diversity.get("self_bleu")),
        ("commonest opening", diversity.get("commonest_opening_share")),
        ("dialogues kept", dialogues.get("rows", {}).get("kept")),
        ("dialogues kept of those written", rate_of(dialogues.get("keep_rate", {}).get("all"))),
        ("turns heard at first", rate_of(dialogues.get("realised_at_first"))),
        ("turns heard in the end", rate_of(dialogues.get("realised"))),
        ("clips kept", clips.get("rows", {}).get("kept")),
        ("clips without a word heard wrong", rate_of((clips.get("wer") or {}).get("good"))),
        ("clips, distance from what was asked", (clips.get("distance") or {}).get("median")),
        ("seconds a kept utterance", measured.summary.get("usage", {}).get("seconds_per_kept_row")),
        ("tokens a kept utterance", measured.summary.get("usage", {}).get("tokens_per_kept_row")),
    ]


def _change(before: Any, after: Any) -> str:
    return "-" if before is None or after is None else f"{after - before:+,.3f}".rstrip("0").rstrip(".")
