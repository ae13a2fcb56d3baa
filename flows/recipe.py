# SPDX-License-Identifier: Apache-2.0
"""The recipe: what a user writes in YAML to say which dataset to make, from what, with which models."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from pydantic_core import to_json

from flows.aims import Budget, Floors, Loop
from flows.cluster_role import Cluster, Runner
from flows.dialogue_role import Dialogues
from flows.patterns import SECRET, HubName, Language, Name, Revision, Storage
from flows.reader_role import Reader, default_reader
from flows.roles import Encoder, Writer
from flows.speech_role import Speech
from flows.strict_yaml import Document, load_strict, read_document, validate
from validators.errors import InputError
from validators.problems import Place, ProblemsError, did_you_mean
from validators.records import Intensity, Record, Text
from validators.taxonomy import CANONICAL, Taxonomy, builtin_names, builtin_taxonomy


def _weigh(labels: object) -> object:
    """Read a list of labels as equal weights; sorted, since the order of a mapping must not matter."""
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        if len(set(labels)) < len(labels):
            raise ValueError("names a label twice: remove one")
        labels = dict.fromkeys(labels, 1.0)
    return dict(sorted(labels.items())) if isinstance(labels, dict) else labels


MAX_SHARDS = 100_000  # five digits in the ids of rows and the names of files

LabelWeights = Annotated[
    dict[str, Annotated[float, Field(gt=0, le=1000)]], BeforeValidator(_weigh), Field(min_length=1)
]  # fmt: skip


class Columns(Record):
    """Which column of a table holds what; where null, the column of the same name is used if there is one."""

    text: Text = "text"
    title: Text | None = None
    source: Text | None = None
    licence: Text | None = None
    language: Text | None = None
    section: Text | None = None  # rows of equal title become the sections of one story, in the order of this column


class Stories(Record):
    """Where the stories come from (exactly one of path, hub, fairytaleqa) and how they are cut."""

    path: Text | None = None
    hub: HubName | None = None
    revision: Revision | None = None
    split: Text = "train"
    config: Text | None = None
    fairytaleqa: Text | None = None
    columns: Columns = Columns()
    source: Text | None = None
    licence: Text | None = None
    language: Language = "en"
    section_words: Annotated[int, Field(ge=20, le=2000)] = 150  # a scene with one or two feelings; fits a small model
    limit: Annotated[int, Field(ge=1)] | None = None
    evidence: Literal["model", "given", "both"] = "model"  # most stories come without human answers
    sections: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        problems: list[tuple[Place, str]] = []
        if sum(origin is not None for origin in (self.path, self.hub, self.fairytaleqa)) != 1:
            problems.append(((), "needs exactly one of path, hub, fairytaleqa"))
        if self.hub and not self.revision:
            problems.append((("hub",), "needs a revision beside it (40 hex digits), so that the stories stay the same"))
        if not self.hub and (self.revision or self.config):
            problems.append((("revision" if self.revision else "config",), "only belongs to a hub dataset: remove it"))
        if self.evidence != "model" and self.hub:
            problems.append((("evidence",), "stories of the Hub come without feelings: use 'model'"))
        if problems:
            raise ProblemsError(problems)
        return self


class Utterances(Record):
    """How many accepted utterances, of which emotions."""

    rows: Annotated[int, Field(ge=1, le=100_000_000)]
    contextual_rows: Annotated[int, Field(ge=0)] | None = None
    labels: LabelWeights | None = None
    candidates: Annotated[int, Field(ge=1, le=16)] = (
        4  # drawn until one passes; a line that fails four times is not there
    )
    intensities: Annotated[tuple[Intensity, ...], Field(min_length=1, max_length=2)] = (1, 2)
    neutral_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    tries: Annotated[int, Field(ge=1, le=100)] = (
        4  # rows written for each that is wanted; a label that needs more is out
    )
    # of the writer's reach

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        problems: list[tuple[Place, str]] = []
        if self.contextual_rows is not None and self.contextual_rows > self.rows:
            problems.append((("contextual_rows",), f"is more than rows ({self.rows}): lower it"))
        if len(set(self.intensities)) < len(self.intensities):
            problems.append((("intensities",), "names an intensity twice: remove one"))
        if problems:
            raise ProblemsError(problems)
        return self


class Gates(Record):
    """What a written row must pass."""

    min_words: Annotated[int, Field(ge=1)] = 4  # below, a line is a cry and says no feeling for certain
    max_words: Annotated[int, Field(ge=1)] = 45  # one breath of speech, about 20 s
    copied_ngram: Annotated[int, Field(ge=3)] = 6  # words in a row taken from the story; five occur by chance
    max_reason_share: Annotated[float, Field(gt=0, le=1)] = (
        0.5  # above, something is wrong with the model, not the rows
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ProblemsError([(("min_words",), f"is more than max_words ({self.max_words}): lower it")])
        return self


class Duplicates(Record):
    """When two rows count as the same."""

    similarity: Annotated[float, Field(gt=0, le=1)] = 0.9  # cosine; paraphrases of one line lie above, new lines below


class Splits(Record):
    """The share of stories, and with them rows, that goes into each split."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.8
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ProblemsError([((), f"train, validation and test sum to {total:g}: they must sum to 1")])
        return self


PLACES = {"runner", "cluster", "storage"}
"""Keys that say where a recipe is worked on, and nothing of what comes of it."""


class Recipe(Record):
    """All that decides which rows are made, and a little that decides how fast."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7  # any will do; fixed, so that a run can be repeated
    taxonomy: Text = "goemotions"  # the label set with the most real data to compare with
    stories: Stories
    writer: Writer
    encoder: Encoder
    reader: Reader = Field(default_factory=default_reader)
    utterances: Utterances
    dialogues: Dialogues | None = None
    speech: Speech | None = None
    loop: Loop = Loop()
    budget: Budget = Budget()
    gates: Gates = Gates()
    duplicates: Duplicates = Duplicates()
    splits: Splits = Splits()
    shard_rows: Annotated[int, Field(ge=1, le=10_000)] = 64  # a crash costs no finished shard; 64 rows take minutes
    floors: Floors = Floors()
    runner: Runner = "threads"  # one machine needs no more
    cluster: Cluster = Cluster()
    storage: Storage | None = None  # where what is durable lies; without one, in the run's folder

    _document: Document | None = PrivateAttr(default=None)  # where it was read; no part of what it says

    @model_validator(mode="after")
    def _fits_in_shards(self) -> Self:
        if self.utterances.rows * self.utterances.tries > MAX_SHARDS * self.shard_rows:
            message = f"is more than {MAX_SHARDS} shards of {self.shard_rows} rows hold: raise shard_rows, or lower it"
            raise ProblemsError([(("utterances", "rows"), message)])
        return self

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        message = "holds a key or login: remove it, and name an environment variable in writer.api_key_env instead"
        if found := [(place, message) for place, text in _texts(self.model_dump(mode="json")) if SECRET.search(text)]:
            raise ProblemsError(found)
        return self

    def canonical(self) -> dict[str, object]:
        """Give the recipe as plain JSON data, all defaults filled in, without the stages that it does not want.

        Where it is worked on is left out too: identity and card are the same on any number of machines.
        """
        unwanted = {name for name in ("dialogues", "speech") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=unwanted | PLACES)

    def resolve(self, path: str) -> Path:
        """Find a path that the recipe names: relative ones start at the recipe's own folder."""
        base = self._document.path.parent if self._document else Path()
        return base / Path(path).expanduser()

    def error(self, place: Place, message: str) -> InputError:
        """Say that something in the recipe cannot be used, with its line."""
        return (self._document or Document(Path(self.name), {}, {})).error([(place, message)])


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, changed by `dotted.key=YAML value` overrides; whatever is wrong is told at once."""
    document = read_document(path, overrides)
    recipe = validate(document, Recipe)
    recipe._document = document
    return recipe


def restore_recipe(data: dict[str, object], folder: Path) -> Recipe:
    """Make a recipe of what `canonical` gave elsewhere; `folder` is where its relative paths start."""
    recipe = Recipe.model_validate_json(to_json(data))
    recipe._document = Document(folder / f"{recipe.name}.yaml", {}, {})
    return recipe


def load_taxonomy(recipe: Recipe) -> Taxonomy:
    """Load the taxonomy that a recipe names: a built-in one, or a YAML file of the user."""
    name = recipe.taxonomy
    if name in builtin_names():
        return builtin_taxonomy(name)
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        hint = did_you_mean(name, builtin_names())
        raise recipe.error(("taxonomy",), f"taxonomy '{name}' is unknown. {hint} Or name a YAML file of your own.")
    path = recipe.resolve(name)
    taxonomy = load_strict(path, Taxonomy)
    if taxonomy.name == CANONICAL:  # its crosswalk would be checked against itself
        raise InputError(
            f"Only the built-in taxonomy may be called '{CANONICAL}'.", where=str(path), next_step="Rename it."
        )
    return taxonomy


def check_labels(recipe: Recipe, label_names: Iterable[str]) -> None:
    """Refuse a recipe that asks for emotions which its taxonomy does not have."""
    known = list(label_names)
    place: Place = ("utterances", "labels")
    unknown = [label for label in recipe.utterances.labels or {} if label not in known]
    if unknown:
        hints = [f"emotion '{label}' is unknown. {did_you_mean(label, known)}" for label in unknown]
        raise recipe.error(place, "; ".join(hints))


def _texts(data: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Walk through all text in plain data."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield (*place, key), key
            yield from _texts(value, (*place, key))
    elif isinstance(data, list):
        for position, value in enumerate(data):
            yield from _texts(value, (*place, position))
