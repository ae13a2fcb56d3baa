# SPDX-License-Identifier: Apache-2.0
"""The charts of a report, as SVG that stands in the page: no script, and colours that hold on light and dark ground."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

KEPT, REJECTED, FIRST = "#2a9d8f", "#c8553d", "#b08900"
"""Teal, rust, ochre: told apart by those who see no red or green, and at least 3 : 1 on white and on near black."""
ROW_HEIGHT = 18
WIDTH = 420

Rows = Sequence[Mapping[str, Any]]


def yield_chart(labels: Rows) -> str:
    """Kept and rejected rows of each label; rows with `label`, `kept`, `rejected`."""
    values = [
        {"label": row["label"], "what": what, "rows": row[what]} for row in labels for what in ("kept", "rejected")
    ]
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None),
            x=alt.X("rows:Q", title="rows", axis=alt.Axis(tickMinStep=1)),
            color=_colour("what", {"kept": KEPT, "rejected": REJECTED}),
            order=alt.Order("what:N"),
        )
    )
    return _svg(chart, len(labels))


def realisation_chart(labels: Rows) -> str:
    """Shares realised at first and in the end with intervals; rows with `label`, `when`, `rate`, `low`, `high`."""
    base = alt.Chart(alt.InlineData(values=list(labels))).encode(
        y=alt.Y("label:N", title=None), color=_colour("when", {"at first": FIRST, "in the end": KEPT})
    )
    axis = alt.Axis(format="%")
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="realised", axis=axis, scale=alt.Scale(domain=[0, 1])),
        x2="high:Q",
        yOffset="when:N",
    )
    points = base.mark_point(filled=True, opacity=1, size=50).encode(x="rate:Q", yOffset="when:N")
    return _svg(bars + points, len({row["label"] for row in labels}), row_height=ROW_HEIGHT * 1.4)


def confusion_chart(counts: Mapping[str, Mapping[str, int]]) -> str:
    """How often each intended label was heard first as which; only labels that occur."""
    rows = [label for label, heard in counts.items() if any(heard.values())]
    columns = [label for label in counts if any(counts[row][label] for row in rows)]
    values = [
        {"intended": row, "heard": column, "rows": counts[row][column], "share": counts[row][column] / of}
        for row in rows
        for of in [sum(counts[row].values())]
        for column in columns
        if counts[row][column]
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("intended:N", sort=rows), x=alt.X("heard:N", sort=columns, title="heard first", axis=_SLANTED)
    )
    cells = base.mark_rect().encode(
        # opaque steps of one hue would vanish on one of the two grounds; white text is legible up to three quarters
        fillOpacity=alt.FillOpacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.08, 0.75]), legend=None),
        fill=alt.value(KEPT),
    )
    return _svg(cells + base.mark_text().encode(text="rows:Q"), len(rows), width=max(160, 30 * len(columns)))


def trajectory_chart(turns: Rows) -> str:
    """Dialogues as rows and turns as columns; rows with `dialogue`, `turn`, `label`, `realised`."""
    base = alt.Chart(alt.InlineData(values=list(turns))).encode(
        y=alt.Y("dialogue:N", title=None, sort=None), x=alt.X("turn:O", axis=alt.Axis(labelAngle=0, orient="top"))
    )
    cells = base.mark_rect(stroke="gray", strokeOpacity=0.4, fillOpacity=0.35).encode(
        fill=_colour("heard", {"heard": KEPT, "not heard": REJECTED, "not read": "gray"})
    )
    text = base.mark_text(fontSize=10).encode(text="label:N")
    return _svg(
        cells + text, len({row["dialogue"] for row in turns}), width=90 * (1 + max(row["turn"] for row in turns))
    )


def prosody_chart(places: Rows) -> str:
    """Mean differences from neutral; rows with `label`, `intensity`, `pitch` (semitones), `loudness` (dB)."""
    base = alt.Chart(alt.InlineData(values=list(places))).encode(
        x=alt.X("pitch:Q", title="pitch, semitones from neutral"),
        y=alt.Y("loudness:Q", title="loudness, dB from neutral"),
    )
    lines = base.mark_line(strokeOpacity=0.4, color="gray").encode(detail="label:N", order="intensity:O")
    points = base.mark_point(filled=True, opacity=1, size=60).encode(
        color=_colour("strength", {"mild": FIRST, "strong": KEPT})
    )
    names = base.transform_filter("datum.strength == 'strong'").mark_text(dy=-9, fontSize=10).encode(text="label:N")
    return _svg(lines + points + names, 18, width=520)


_SLANTED = alt.Axis(labelAngle=-45)


def _colour(field: str, colours: Mapping[str, str]) -> Any:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(title=None, orient="top"))


def _svg(chart: Any, n_rows: int, *, width: float = WIDTH, row_height: float = ROW_HEIGHT) -> str:
    """Render a chart; text and lines take the colour of the page's text."""
    import vl_convert

    ink = {"labelColor": "currentColor", "titleColor": "currentColor"}
    lines = {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "gray", "gridOpacity": 0.25}
    config = {
        "padding": 8,  # the renderer measures text a little too small
        "background": None,
        "font": "sans-serif",
        "view": {"stroke": None},
        "axis": {**ink, **lines},
        "legend": ink,
        "text": {"color": "currentColor"},
    }
    spec = chart.properties(width=width, height=max(60, n_rows * row_height)).to_dict()
    return str(vl_convert.vegalite_to_svg({**spec, "config": config}))
