# SPDX-License-Identifier: Apache-2.0
"""What dialogues can be about."""

from functools import cache
from importlib.resources import files

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
    text = (files("generators.dialogues") / "domains.yaml").read_text(encoding="utf-8")
    return tuple(TypeAdapter(list[Domain]).validate_python(YAML(typ="safe", pure=True).load(text)["domains"]))
