# SPDX-License-Identifier: Apache-2.0
"""The sections of a report: each from the figures and tables that it is about; empty where a release has none."""

import base64
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import pyarrow.parquet as pq

from flows.data_docs import suites_of
from flows.report_charts import confusion_chart, prosody_chart, realisation_chart, trajectory_chart, yield_chart
from flows.report_parts import Figure, Link, Measured, Quote, Section, Table, figure_text
from flows.review_figures import review_sections
from flows.run_identity import DATA_DOCS, WORK
from validators.delivery import differences_of

SAMPLES = 12
"""Texts, dialogues and clips that are shown."""
SHOWN_CHARS = 300


def sections_of(measured: Measured) -> list[Section]:
    """All sections that have something to show."""
    parts = [
        labels_section(measured),
        confusion_section(measured),
        _samples(measured),
        _dialogues(measured),
        _clips(measured),
        *review_sections(measured.root),
        _rejected(measured),
        _spent(measured),
        _checks(measured),
    ]
    return [part for part in parts if part.figures or part.tables or part.quotes]


def labels_section(measured: Measured) -> Section:
    """Rows and realisation by label."""
    per_label = {name: one for name, one in measured.quality["per_label"].items() if one["planned"]}
    yields = [{"label": name, "kept": one["kept"], "rejected": one["rejected"]} for name, one in per_label.items()]
    rates = [
        {"label": name, "when": when, **{part: one[key][part] for part in ("rate", "low", "high")}}
        for name, one in per_label.items()
        for when, key in (("at first", "realised_at_first"), ("in the end", "realised"))
        if one[key]
    ]
    figures = [Figure(yield_chart(yields), "Rows by intended label.")]
    if rates:
        caption = "Share of rows in which the blind reader heard the intended label, before and after repair."
        figures.append(Figure(realisation_chart(rates), caption))
    short: dict[str, list[str]] = {}
    for label, why in sorted(measured.summary.get("short", {}).items()):
        short.setdefault(why, []).append(label)
    return Section(
        "Labels",
        texts=tuple(f"Fewer rows than wanted of {', '.join(labels)}: {why}." for why, labels in short.items()),
        figures=tuple(figures),
    )


def confusion_section(measured: Measured) -> Section:
    """Which label was heard for which."""
    counts = measured.quality.get("confusion") or {}
    if not any(any(heard.values()) for heard in counts.values()):
        return Section("Intended and heard")
    caption = "Kept rows by intended label (rows) and the label that the reader put first (columns)."
    return Section("Intended and heard", figures=(Figure(confusion_chart(counts), caption),))


def _samples(measured: Measured) -> Section:
    table = measured.table("utterances")
    rows = _one_of_each(table.to_pylist() if table else [], key=lambda row: row["intended"]["label"])
    return Section(
        "Utterances",
        quotes=tuple(
            Quote(
                f"{row['character']}, {row['title']} - intended {_intended(row['intended'])}, {_heard(row)}",
                tuple(
                    f"{name}: {row[key]}"
                    for name, key in (("said", "text"), ("before", "context"), ("rewritten", "text_ambiguous"))
                    if row[key]
                ),
            )
            for row in rows[:SAMPLES]
        ),
    )


def _dialogues(measured: Measured) -> Section:
    table, figures = measured.table("dialogues"), measured.quality.get("dialogues")
    if table is None or not figures:
        return Section("Dialogues")
    rows = table.to_pylist()[:SAMPLES]
    heard = {True: "heard", False: "not heard", None: "not read"}
    turns = [
        {
            "dialogue": row["dialogue_id"],
            "turn": turn["turn"],
            "label": turn["intended"]["label"],
            "heard": heard[turn["realised"]],
        }
        for row in rows
        for turn in row["turns"]
    ]
    fell = Table(
        ("fell at", "reason", "dialogues"),
        tuple((one["stage"], one["reason"], str(one["dialogues"])) for one in figures["fell_at"]),
        (2,),
    )
    return Section(
        "Dialogues",
        figures=(Figure(trajectory_chart(turns), "What was to be felt at each turn, and whether it was heard."),),
        tables=(fell,) if figures["fell_at"] else (),
        quotes=tuple(
            Quote(
                f"{row['dialogue_id']}, {row['domain'] or row['title']}: {row['situation']}",
                tuple(
                    f"{row['speakers'][turn['speaker']]['name']}: {turn['text']} ({_intended(turn['intended'])})"
                    for turn in row["turns"]
                ),
            )
            for row in rows[: SAMPLES // 2]
        ),
    )


def _clips(measured: Measured) -> Section:
    table, figures = measured.table("clips"), measured.quality.get("clips")
    if table is None or not figures:
        return Section("Clips")
    rows = table.to_pylist()
    places: dict[tuple[str, int], list[Mapping[str, float]]] = {}
    for row in rows:
        found = differences_of(row)[1]
        if row["intended"]["intensity"] and {"pitch", "loudness"} <= set(found):
            places.setdefault((row["intended"]["label"], row["intended"]["intensity"]), []).append(found)
    means = [
        {
            "label": label,
            "intensity": intensity,
            "strength": {1: "mild", 2: "strong"}[intensity],
            "pitch": sum(one["pitch"] for one in found) / len(found),
            "loudness": sum(one["loudness"] for one in found) / len(found),
        }
        for (label, intensity), found in sorted(places.items())
    ]
    caption = "Where the clips of each label lie, as measured differences from the same words said without a feeling."
    return Section(
        "Clips",
        figures=(Figure(prosody_chart(means), caption),) if means else (),
        quotes=tuple(
            Quote(
                f"{row['voice']}, {_intended(row['intended'])}",
                (row["text"],),
                "data:audio/flac;base64," + base64.b64encode(row["audio"]["bytes"]).decode(),
            )
            for row in _one_of_each(rows, key=lambda row: row["intended"]["label"])[:SAMPLES]
        ),
    )


def _rejected(measured: Measured) -> Section:
    """What was rejected by reason, with an example of each, from the work folder where it is there."""
    paths = sorted(measured.root.glob(f"{WORK}/*/rejected-*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    reasons: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        reasons.setdefault((row["stage"], row["gate"], row["reason"]), []).append(row)
    ordered = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
    return Section(
        "Rejected",
        tables=(
            Table(
                ("stage", "gate", "reason", "rows", "an example"),
                tuple((*key, str(len(found)), found[0]["reply"][:SHOWN_CHARS]) for key, found in ordered),
                (3,),
            ),
        )
        if ordered
        else (),
    )


def _spent(measured: Measured) -> Section:
    usage = measured.summary.get("usage") or {}
    rows = tuple((re.sub(" s$", ", seconds", name.replace("_", " ")), figure_text(usage[name])) for name in usage)
    return Section(
        "Time and tokens of the last command", tables=(Table(("figure", "value"), rows, (1,)),) if rows else ()
    )


def _checks(measured: Measured) -> Section:
    checks = measured.judgement.get("summary") or []
    rows = tuple(
        (one["check"], one["column"] or "", "holds" if one["success"] else "fails", _observed(one)) for one in checks
    )
    return Section(
        "Checks of the release (Great Expectations)",
        tables=(Table(("check", "column", "", "observed"), rows),) if rows else (),
        links=(Link("All checks with what they ask for (Data Docs)", DATA_DOCS),) if suites_of(measured) else (),
    )


def _observed(outcome: Mapping[str, Any]) -> str:
    """What a check found: a figure, how many columns, or how many rows break it."""
    observed, unexpected = outcome["observed"], outcome["unexpected_count"]
    if isinstance(observed, list):
        return f"{len(observed)} columns"
    if observed is None:
        return "" if unexpected is None else f"{figure_text(unexpected)} rows break it"
    return figure_text(observed)


def _one_of_each(
    rows: Iterable[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], Hashable]
) -> list[Mapping[str, Any]]:
    """The first row of each kind, then the second of each, so that a sample shows all kinds."""
    by_kind: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(key(row), []).append(row)
    longest = max((len(found) for found in by_kind.values()), default=0)
    return [found[n] for n in range(longest) for found in by_kind.values() if n < len(found)]


def _intended(intended: Mapping[str, Any]) -> str:
    strength = {1: "mild ", 2: "strong "}.get(intended["intensity"], "")
    return f"{strength}{intended['label']}"


def _heard(row: Mapping[str, Any]) -> str:
    if not row["perceived"]:
        return "not read"
    return "heard first: " + ", ".join(one["label"] for one in row["perceived"][:3])
