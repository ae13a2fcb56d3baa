# SPDX-License-Identifier: Apache-2.0
"""Canonical JSON, its hash, and small files that carry their own hash, so that a torn or flipped byte shows."""

import hashlib
import json
from typing import Final

_SEAL: Final = "sealed_sha256"


class SealError(ValueError):
    """The bytes are not a whole sealed file."""


def canonical_json(value: object) -> str:
    """Write a value as the one JSON text it has: sorted keys, no spaces, ASCII; NaN is an error."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of(value: object) -> str:
    """Hash a value by its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def seal(content: dict[str, object]) -> bytes:
    """Write content as JSON for people to read, with its own hash as the last key."""
    text = json.dumps(content | {_SEAL: sha256_of(content)}, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def unseal(sealed: bytes) -> dict[str, object]:
    """Read what `seal` wrote, or raise `SealError`."""
    try:
        content = json.loads(sealed)
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8
        raise SealError("not JSON") from error
    if not isinstance(content, dict) or _SEAL not in content:
        raise SealError("no hash in it")
    recorded = content.pop(_SEAL)
    # the whole text, not the content alone: a doubled key or a changed space is damage too
    if sha256_of(content) != recorded or seal(content) != sealed:
        raise SealError("its content does not match its hash")
    return content
