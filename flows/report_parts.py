# SPDX-License-Identifier: Apache-2.0
"""What the page of a report is made of, and a release as its report sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.run_identity import DATA


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a section; columns in `numbers` (by place) are set to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Quote:
    """A text as it stands in the release, with its sound if it has one."""

    head: str
    lines: tuple[str, ...]
    audio: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A file beside the page, and what it is called."""

    text: str
    target: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page."""

    title: str
    texts: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    quotes: tuple[Quote, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A release as its report sees it."""

    root: Path
    quality: Mapping[str, Any]
    summary: Mapping[str, Any]
    judgement: Mapping[str, Any]

    def table(self, config: str) -> pa.Table | None:
        """All rows of a table, None where there is none."""
        paths = sorted((self.root / DATA / config).glob("*.parquet"))
        return pa.concat_tables([pq.read_table(path) for path in paths]) if paths else None


class Share(float):
    """A number that a person reads as percent."""


def rate_of(figure: Mapping[str, Any] | None) -> Share | None:
    """The rate of a figure, None where there is none."""
    return None if figure is None else Share(figure["rate"])


def figure_text(value: Any) -> str:
    """A number as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, Share):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")
