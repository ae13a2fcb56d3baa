# SPDX-License-Identifier: Apache-2.0
"""What the figures of raters look like in the report and on the card. Names of raters go into the report alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flows.markdown import interval_cells, markdown_table
from flows.parquet import read_parquet
from flows.report_parts import Section, Table
from validators.agreement import Interval
from validators.human_agreement import HumanAgreement, human_agreement
from validators.rating_schemas import RATINGS, Rating
from validators.schemas import to_records

REVIEW: Final = "review"
RATINGS_FILE: Final = "ratings.parquet"
HEADING: Final = "## Rated by people"
_NAMES: Final = {"text": "utterances, read alone", "dialogue": "turns, read after those before", "audio": "clips"}


def figures_of(root: Path) -> dict[str, HumanAgreement]:
    """The figures of each kind of item that people rated; {} where nobody did."""
    path = root / REVIEW / RATINGS_FILE
    if not path.is_file():
        return {}
    ratings = to_records(read_parquet(path).cast(RATINGS), Rating)
    found = {}
    for kind in _NAMES:
        of_kind = [one for one in ratings if one.kind == kind]
        counted = [one for one in of_kind if one.counted and one.presentation == "first"]
        # of labels that nobody chose and no item intends there is nothing to tell
        labels = {label for one in counted for label in (*one.heard, one.intended_label) if label}
        if of_kind:
            found[kind] = human_agreement(of_kind, sorted(labels))
    return found


def review_sections(root: Path) -> list[Section]:
    """The sections of the report: what people heard."""
    return [
        Section(
            f"Rated by people: {_NAMES[kind]}",
            texts=(_basis(found), "Intervals are 95 % bootstraps over items. Alpha is Krippendorff's."),
            tables=(
                Table(
                    ("figure", "value", "interval"),
                    tuple((name, *interval_cells(value)) for name, value in _main(found)),
                    (1,),
                ),
                Table(
                    (
                        "label",
                        "chosen",
                        "alpha",
                        "interval",
                        "alpha of intensity",
                        "interval",
                        "heard where intended",
                        "interval",
                    ),
                    tuple(_label_rows(found)),
                    (1, 2, 4, 6),
                ),
                Table(
                    ("rater", "answers", "checks", "failed", "in the figures"),
                    tuple(
                        (
                            name,
                            str(one.answers),
                            str(one.checks),
                            str(one.checks_failed),
                            "yes" if one.counted else "no",
                        )
                        for name, one in found.raters.items()
                    ),
                    (1, 2, 3),
                ),
            ),
        )
        for kind, found in figures_of(root).items()
    ]


def card_with(card: str, figures: Mapping[str, HumanAgreement]) -> str:
    """A card with these figures as its last part, in place of earlier ones."""
    # ours alone can stand at the start of a line so: what strangers wrote is in table cells and in JSON strings
    before = card.partition(f"\n{HEADING}\n")[0].rstrip("\n")
    parts = [HEADING, "An open question, without the intention: up to five labels with intensity, or none."]
    for kind, found in figures.items():
        parts += [
            f"### {_NAMES[kind].capitalize()}",
            _basis(found),
            markdown_table(
                ["figure", "value", "95 % interval"], [[name, *interval_cells(one)] for name, one in _main(found)]
            ),
            markdown_table(
                [
                    "label",
                    "chosen",
                    "alpha",
                    "95 % interval",
                    "alpha of intensity",
                    "95 % interval",
                    "heard where intended",
                    "95 % interval",
                ],
                _label_rows(found),
            ),
        ]
    return "\n\n".join([before, *parts]) + "\n" if figures else before + "\n"


def _main(found: HumanAgreement) -> list[tuple[str, Interval | None]]:
    return [
        ("alpha over all labels", found.alpha),
        ("alpha of intensity over all labels", found.alpha_intensity),
        ("answers that hold the intended label", found.intended_heard),
        ("F1 against the intended label", found.intended_f1),
        ("answers that hold the label that the reader put first", found.perceived_heard),
        ("F1 against the label that the reader put first", found.perceived_f1),
    ]


def _label_rows(found: HumanAgreement) -> list[tuple[str, ...]]:
    return [
        (
            label,
            str(one.chosen),
            *interval_cells(one.alpha),
            *interval_cells(one.alpha_intensity),
            *interval_cells(one.intended_heard),
        )
        for label, one in found.per_label.items()
    ]


def _basis(found: HumanAgreement) -> str:
    """What the figures rest on."""
    counted = [one for one in found.raters.values() if one.counted]
    checks, failed = sum(one.checks for one in counted), sum(one.checks_failed for one in counted)
    text = (
        f"{len(counted)} raters gave {found.answers} answers to {found.items} items, {found.items_of_two} of them "
        f"rated by two or more. Of {checks} checks of attention "
        f"{failed} were failed."
    )
    if left_out := len(found.raters) - len(counted):
        text += f" {left_out} raters were left out."
    if found.repeats and found.repeats_equal is not None and found.repeats_overlap is not None:
        text += (
            f" Of {found.repeats} items that somebody met twice, {found.repeats_equal:.0%} got the same labels; "
            f"{found.repeats_overlap:.0%} of the labels were there both times."
        )
    return text
