# SPDX-License-Identifier: Apache-2.0
"""What dialogues can be about, and what those who talk can be called."""

from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from validators.records import Record, Text


class Domain(Record):
    """A field of life, and what can go well or badly in it."""

    name: Text
    description: Text


@cache
def builtin_domains() -> tuple[Domain, ...]:
    """Read the domains that come with the package, in the order of the file."""
    return tuple(TypeAdapter(list[Domain]).validate_python(_read("domains.yaml")["domains"]))


@cache
def first_names() -> tuple[str, ...]:
    """Read the first names that come with the package."""
    return tuple(TypeAdapter(list[str]).validate_python(_read("names.yaml")["names"]))


def _read(name: str) -> Any:
    text = (files("generators.dialogues") / name).read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)
