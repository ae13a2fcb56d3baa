# SPDX-License-Identifier: Apache-2.0
"""Read a YAML file into a strict record, and tell everything that is wrong with it at once, each with its line."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_json
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from validators.errors import InputError
from validators.problems import Place, ProblemsError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 1_000_000  # a recipe has a few KB, a taxonomy of 500 labels about 150 KB
MAX_NODES = 100_000  # aliases of aliases grow without end from a few lines
MAX_DEPTH = 32  # a list may hold an alias of itself
MAX_DIGITS = 30

_CORE = "tag:yaml.org,2002:"
_KIND = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "NoneType": "null"}


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain data, with the origin ("line 12" or "--set") of every key and item."""

    path: Path
    data: dict[str, object]
    origins: Mapping[Place, str]
    problems: Sequence[tuple[Place, str]] = ()  # what YAML itself got wrong, told together with what the record refuses

    def origin(self, place: Place) -> str:
        """Say where something stands, or else the nearest thing around it."""
        while place and place not in self.origins:
            place = place[:-1]
        return self.origins.get(place, "line 1")

    def error(self, problems: Sequence[tuple[Place, str]]) -> InputError:
        """Turn problems into one error that lists them in the order of the file."""
        lines = [f"{self.origin(place)}, {_dotted(place)}: {message}" for place, message in dict.fromkeys(problems)]
        lines.sort(key=lambda line: [int(digits) for digits in re.findall(r"^line (\d+)", line)])
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        return InputError(
            "\n  ".join([f"{count} in {self.path}", *lines]),
            where=str(self.path),
            next_step="Correct what is named above, then run again.",
        )


def load_strict(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, change it by `dotted.key=YAML value` overrides, and validate it."""
    return validate(read_document(path, overrides), model)


def validate(document: Document, model: type[Model]) -> Model:
    """Validate a document as a strict record; lists may become tuples, but no text becomes a number."""
    told = {place for place, _ in document.problems}
    try:
        record = model.model_validate_json(to_json(document.data))
    except ValidationError as error:
        more = [(place, message) for place, message in _problems(error, model) if place not in told]
        raise document.error([*document.problems, *more]) from None  # the pydantic text repeats values
    if document.problems:
        raise document.error(document.problems)
    return record


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a YAML file as plain data with line numbers: no tags, no duplicate keys, no NaN."""
    reading = _Reading(path)
    data = reading.top(_text(path))
    for override in overrides:
        reading.override(data, override)
    return Document(path, data, reading.origins, reading.problems)


@dataclass(slots=True)
class _Reading:
    """The state of reading one file: what has been seen where, and what was wrong with it."""

    path: Path
    origins: dict[Place, str] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    n_nodes: int = 0
    source: str | None = None  # set while an override is read, whose line numbers mean nothing

    def top(self, text: str) -> dict[str, object]:
        node = self.compose(text)
        if not isinstance(node, MappingNode):
            raise InputError(
                f"{self.path} holds no 'key: value' pairs.",
                where=str(self.path),
                next_step="Start from one of the files in recipes/.",
            )
        data = self.plain(node, ())
        return data if isinstance(data, dict) else {}

    def override(self, data: dict[str, object], override: str) -> None:
        key, equals, text = override.partition("=")
        *above, last = (part.strip() for part in key.split("."))
        if not equals or not all((*above, last)):
            raise InputError("An override must read dotted.key=value.", next_step="Write --set utterances.rows=200")
        self.source = "--set"
        target = data
        for depth, part in enumerate(above, start=1):
            self.origins.setdefault(tuple(above[:depth]), self.source)
            below = target.get(part)
            if not isinstance(below, dict):
                below = target[part] = {}
            target = below
        node = self.compose(text)
        target[last] = None if node is None else self.plain(node, (*above, last))
        self.origins[(*above, last)] = self.source

    def compose(self, text: str) -> Node | None:
        try:
            node: Node | None = YAML(typ="safe", pure=True).compose(text)
        except MarkedYAMLError as error:
            line = f"line {error.problem_mark.line + 1}" if error.problem_mark and not self.source else self.source
            raise self.unreadable(f"{line}: {error.problem}") from error
        except YAMLError as error:
            raise self.unreadable("it holds a character that YAML does not allow") from error
        except RecursionError as error:
            raise self.unreadable("it is nested too deeply") from error
        return node

    def unreadable(self, why: str) -> InputError:
        return InputError(
            f"{self.path} is not valid YAML: {why}",
            where=str(self.path),
            next_step="Check indentation, quotes and brackets near that line.",
        )

    def plain(self, node: Node, place: Place) -> object:
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES or len(place) > MAX_DEPTH:
            raise self.unreadable(f"it has more than {MAX_NODES} items or {MAX_DEPTH} levels, with aliases")
        self.origins[place] = self.source or f"line {node.start_mark.line + 1}"
        if not isinstance(node.tag, str) or not node.tag.startswith(_CORE) or "/" in node.tag:
            self.problems.append((place, "has a YAML tag: remove it, tags are not read"))
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.plain(item, (*place, position)) for position, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self.scalar(node.tag.removeprefix(_CORE), str(node.value), place)
        raise self.unreadable("it holds something other than mappings, lists and values")

    def mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        data: dict[str, object] = {}
        for key, value in node.value:
            line = self.source or f"line {key.start_mark.line + 1}"
            if not isinstance(key, ScalarNode) or key.tag not in {_CORE + "str", _CORE + "timestamp"}:
                self.problems.append((place, f"{line} has a key that is not text: put it in quotes"))
                continue
            below = (*place, key.value)
            if key.value in data:
                first = self.origins[below]
                self.origins[below] = line
                self.problems.append((below, f"key occurs twice, first in {first}: keep one"))
                continue
            data[key.value] = self.plain(value, below)
            self.origins[below] = line  # the line of the key, where a reader looks
        return data

    def scalar(self, kind: str, text: str, place: Place) -> object:
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind not in {"int", "float"}:
            return text
        try:
            number = _number(kind, text)
        except ValueError:
            self.problems.append((place, "is not a finite number of usual length: put it in quotes if it is text"))
            return None
        return number


def _number(kind: str, text: str) -> int | float:
    digits = text.replace("_", "").lower()
    if len(digits) > MAX_DIGITS:
        raise ValueError("too long")
    if kind == "int":
        return int(digits, 0 if digits.lstrip("+-")[:2] in {"0x", "0o", "0b"} else 10)
    number = float(re.sub(r"^([+-]?)\.(inf|nan)$", r"\1\2", digits))
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _text(path: Path) -> str:
    where = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        beside = [file.name for file in path.parent.glob("*.y*ml")]
        raise InputError(
            f"There is no file {path}. {did_you_mean(path.name, sorted(beside))}",
            where=where,
            next_step="Check the path; ready recipes are in recipes/.",
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", where=where, next_step="Name a file.") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than 1 MB.", where=where, next_step="Name a recipe or taxonomy.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line} is not UTF-8.", where=where, next_step="Save it as UTF-8.") from error


def _problems(error: ValidationError, model: type[BaseModel]) -> list[tuple[Place, str]]:
    problems: list[tuple[Place, str]] = []
    for details in error.errors(include_url=False):
        place: Place = details["loc"]
        raised = details.get("ctx", {}).get("error")
        if isinstance(raised, ProblemsError):
            problems += [((*place, *below), message) for below, message in raised.problems]
        else:
            problems.append((place, _message(details, model)))
    return problems


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    """Say what is wrong in the words of the recipe, never repeating a value: it may be a secret."""
    kind, place = details["type"], details["loc"]
    if kind == "extra_forbidden":
        above = _record_at(model, place[:-1])
        return f"unknown key. {did_you_mean(str(place[-1]), above.model_fields if above else ())}"
    if kind == "missing":
        return "is missing: add this key"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    message = re.sub(r"^(Input|String|Tuple|List|Dictionary|Value) should", "should", details["msg"])
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", details["ctx"]["expected"])
        return f"is not a known value. {did_you_mean(str(details['input']), known)}" if known else message
    if kind.endswith(("_type", "_parsing")):
        message += f", not {_KIND.get(type(details['input']).__name__, 'a list or mapping')}"
        message += ": put it in quotes" if kind == "string_type" and isinstance(details["input"], int | float) else ""
    return message


def _record_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """Follow keys down to the record that they lead to, so that its known keys can be named."""
    here: type[BaseModel] | None = model
    for key in place:
        if here is not None and isinstance(key, str):
            known = here.model_fields.get(key)
            here = None if known is None else _record_in(known.annotation)
    return here


def _record_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _record_in(inner))), None)


def _dotted(place: Place) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or "top"
