# SPDX-License-Identifier: Apache-2.0
"""Exact checks of Python values against Arrow fields, which pyarrow itself does not make.

pyarrow takes 1.0 for an integer, drops unknown keys, fills missing ones with null and does not look at `nullable`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pyarrow as pa

Field: TypeAlias = "pa.Field[pa.DataType]"

Check = Callable[[object], str]
"""Says what does not fit ("" if nothing), with the path to it and without the value."""


def struct_check(fields: Sequence[Field]) -> Check:
    """Compile the check of rows with exactly these fields, once for a whole table."""
    checks = {field.name: _check(field) for field in fields}
    names = frozenset(checks)

    def check(value: object) -> str:
        if not isinstance(value, dict):
            return _expected("keys and values", value)
        if value.keys() != names:
            misfits = {"unknown": sorted(map(str, value.keys() - names)), "missing": sorted(names - value.keys())}
            return ", ".join(f"{misfit} {', '.join(keys)}" for misfit, keys in misfits.items() if keys)
        for name, item in value.items():
            misfit = checks[name](item)
            if misfit:
                return f"{name}: {misfit}"
        return ""

    return check


def _check(field: Field) -> Check:
    """Compile the check of a field once, since it runs for every value of a shard."""
    check = _value_check(field.type)
    nullable = field.nullable

    def check_or_null(value: object) -> str:
        if value is None:
            return "" if nullable else "null where a value is required"
        return check(value)

    return check_or_null


def _value_check(kind: pa.DataType) -> Check:
    if pa.types.is_string(kind):
        return _check_text
    if pa.types.is_integer(kind):
        bound = 1 << (kind.bit_width - 1)
        # type() and not isinstance: True is an int to Python, and pyarrow takes 1.0 for one
        return lambda value: "" if type(value) is int and -bound <= value < bound else _expected(str(kind), value)
    if pa.types.is_floating(kind):
        return lambda value: "" if type(value) is float and math.isfinite(value) else _expected("a finite float", value)
    if pa.types.is_boolean(kind):
        return lambda value: "" if type(value) is bool else _expected("a bool", value)
    if pa.types.is_struct(kind):
        return struct_check([kind.field(n) for n in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return _list_check(kind.value_field)
    raise TypeError(f"no check for columns of type {kind}")


def _list_check(item_field: Field) -> Check:
    check_item = _check(item_field)

    def check(value: object) -> str:
        if not isinstance(value, list | tuple):
            return _expected("a list", value)
        for n, item in enumerate(value):
            misfit = check_item(item)
            if misfit:
                return f"[{n}]: {misfit}"
        return ""

    return check


def _check_text(value: object) -> str:
    if type(value) is not str:
        return _expected("text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"lone surrogate U+{ord(value[error.start]):04X} at character {error.start}"
    return ""


def _expected(what: str, value: object) -> str:
    return f"{what} expected, {type(value).__name__} found" if value is not None else f"{what} expected, null found"
