# SPDX-License-Identifier: Apache-2.0
"""A taxonomy: the emotions of one dataset, with what each means, how it is said and where it lies."""

import hashlib
import json
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Annotated, Self

from pydantic import Field, model_validator
from ruamel.yaml import YAML

from validators.errors import InputError
from validators.problems import Place, ProblemsError, did_you_mean
from validators.records import Record, Text

CANONICAL = "canonical"
"""The built-in taxonomy that `canonical` of every label points to."""

MIN_DEFINITION_WORDS = 4  # the writer gets the definition in its prompt; "a feeling" tells it nothing

Name = Annotated[str, Field(pattern=r"^[^\s\pC](?:[^\n\r\pC]{0,58}[^\s\pC])?$")]
"""One printable line of at most 60 characters: it becomes a column value, a prompt word and a table cell."""

# A YAML list is a Python list: let the tuple take it, while what is inside stays strict.
Phrases = Annotated[tuple[Text, ...], Field(strict=False)]


class Label(Record):
    """One emotion. `synonyms` are the words that name it, so that a text naming its label can be found.

    `expressions` are what somebody who feels so may do in a line, as verb phrases: a small writer must be told. A
    label without any has those of its canonical label.
    """

    name: Name
    title: Text
    definition: str
    expressions: Phrases = ()
    synonyms: Phrases = ()
    valence: Annotated[float, Field(ge=-1, le=1)]
    arousal: Annotated[float, Field(ge=0, le=1)]
    canonical: Text | None = None

    @property
    def shows_by(self) -> tuple[str, ...]:
        """The ways in which the emotion shows in a line: its own, or those of its canonical label."""
        if self.expressions or self.canonical is None:
            return self.expressions
        return builtin_taxonomy(CANONICAL).label(self.canonical).expressions


class Taxonomy(Record):
    """The label set of a dataset; `neutral` names the label without emotion, if there is one."""

    name: Name
    title: Text
    version: Annotated[int, Field(ge=1)]
    source: Text
    neutral: Text | None
    labels: Annotated[tuple[Label, ...], Field(strict=False)]

    @property
    def names(self) -> tuple[str, ...]:
        """All label names in the order of the taxonomy."""
        return tuple(label.name for label in self.labels)

    @property
    def synonyms(self) -> dict[str, tuple[str, ...]]:
        """The words that name each label; the name itself always is one of them."""
        return {label.name: tuple(dict.fromkeys((label.name, *label.synonyms))) for label in self.labels}

    @property
    def feelings(self) -> tuple[str, ...]:
        """All words that name an emotion of the taxonomy; those of neutral are none."""
        words = (word for label, synonyms in self.synonyms.items() if label != self.neutral for word in synonyms)
        return tuple(dict.fromkeys(words))

    def label(self, name: str) -> Label:
        """Look a label up by its name."""
        for label in self.labels:
            if label.name == name:
                return label
        raise InputError(
            f"Emotion '{name}' is not in the taxonomy '{self.name}'. {did_you_mean(name, self.names)}",
            next_step="Use one of the known names, or add the label to a taxonomy of your own.",
        )

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        problems = _name_problems(self)
        if len(self.labels) < 2:
            problems.append((("labels",), "a taxonomy needs at least two labels: add one"))
        known = self.names if self.name == CANONICAL else canonical_names()
        for position, label in enumerate(self.labels):
            place: Place = ("labels", position)
            problems += [((*place, key), message) for key, message in _label_problems(label, self.neutral, known)]
        if problems:
            raise ProblemsError(problems)
        return self


def _name_problems(taxonomy: Taxonomy) -> list[tuple[Place, str]]:
    problems: list[tuple[Place, str]] = []
    counts = Counter(name.lower() for name in taxonomy.names)
    for position, name in enumerate(taxonomy.names):
        if counts[name.lower()] > 1:
            problems.append((("labels", position, "name"), f"label '{name}' occurs twice: rename or remove one"))
    if taxonomy.neutral is not None and taxonomy.neutral not in taxonomy.names:
        hint = did_you_mean(taxonomy.neutral, taxonomy.names)
        problems.append(
            (("neutral",), f"'{taxonomy.neutral}' is not among the labels: name one of them, or null. {hint}")
        )
    return problems


def _label_problems(label: Label, neutral: str | None, canonical: tuple[str, ...]) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if len(label.definition.split()) < MIN_DEFINITION_WORDS:
        problems.append(
            ("definition", f"label '{label.name}' needs a definition of at least {MIN_DEFINITION_WORDS} words: add one")
        )
    if not label.synonyms and label.name != neutral:
        problems.append(
            ("synonyms", f"label '{label.name}' has no synonyms: list the words that name it, such as its adjective")
        )
    if label.canonical is not None and label.canonical not in canonical:
        hint = did_you_mean(label.canonical, canonical)
        problems.append(
            ("canonical", f"label '{label.name}' points to an unknown canonical label: correct it, or null. {hint}")
        )
    return problems


def builtin_names() -> tuple[str, ...]:
    """Names of the taxonomies that come with the package."""
    folder = files("validators") / "taxonomies"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


@cache
def builtin_taxonomy(name: str) -> Taxonomy:
    """Read a taxonomy that comes with the package."""
    if name not in builtin_names():
        raise InputError(
            f"Taxonomy '{name}' is unknown. {did_you_mean(name, builtin_names())}",
            next_step="Use a known name, or the path of a taxonomy YAML file of your own.",
        )
    text = (files("validators") / "taxonomies" / f"{name}.yaml").read_text(encoding="utf-8")
    return Taxonomy.model_validate(YAML(typ="safe", pure=True).load(text))


@cache
def canonical_names() -> tuple[str, ...]:
    """Names of the canonical labels."""
    return builtin_taxonomy(CANONICAL).names


def taxonomy_sha256(taxonomy: Taxonomy) -> str:
    """Hash of everything in the taxonomy, and of what its labels take from canonical ones, whatever file it is from."""
    content = taxonomy.model_dump(mode="json") | {"shows_by": [label.shows_by for label in taxonomy.labels]}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
