# SPDX-License-Identifier: Apache-2.0
"""What is looked at before a release leaves this machine: files, licences, secrets, personal data.

Each finding names where it is and of what kind, never the secret or the number itself. What is searched for are
patterns: that nothing was found does not say that nothing is there.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.manifest import Manifest, verify_release
from flows.run_identity import CARD, CROISSANT, QUALITY
from validators.personal_data import PERSONAL_DATA, kinds_of_personal_data

BATCH_ROWS = 256
SHOWN = 20
"""Findings of a kind that are told; more would hide the rest."""

REDISTRIBUTABLE = frozenset(
    one.casefold()
    for one in (
        "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "PDM-1.0", "CC-BY-3.0",
        "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0",
        "ODC-By-1.0", "ODbL-1.0", "PDDL-1.0",
    )
)  # fmt: skip
"""SPDX identifiers under which text, weights and voices, and what is made with them, may be passed on to anybody."""

SECRETS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bBearer\s+[A-Za-z0-9._~+/-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s:@]+@|[?&]X-Amz-Signature="
)
_SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
SECRET_CHARS = 8  # shorter values of the environment occur in any text


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps a release from being published."""

    kind: str
    """file, licence, secret, email, phone or card."""
    where: str
    what: str
    allowed_by: str = ""
    """What somebody can allow it by: the licence, or the kind of personal data; "" where nobody can."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} ({self.where})"


def audit_release(root: Path, manifest: Manifest, *, allow: Collection[str] = ()) -> list[Finding]:
    """List what keeps a release from being published; [] if nothing.

    `allow` are licences, or kinds of personal data, that somebody has looked at and takes the responsibility for.
    """
    problems = [Finding("file", root.name, problem) for problem in verify_release(root)]
    if problems:
        return problems
    allowed = {one.casefold() for one in allow}
    licences: Counter[str] = Counter()
    findings: list[Finding] = []
    secrets = secrets_here()
    for file in manifest.files:
        path = root / file.path
        if file.path in {CARD, CROISSANT, QUALITY}:
            lines = path.read_text(encoding="utf-8").splitlines()
            findings += [
                Finding("secret", f"{file.path}, line {number}", what)
                for number, line in enumerate(lines, start=1)
                for what in _secrets_in(line, secrets)
            ]
        elif file.rows is not None:
            for where, name, text in _texts(path, file.path):
                if name.endswith(("licence", "licences")):
                    licences[text] += 1
                findings += _found_in(text, where, secrets)
    findings += [
        Finding("licence", f"{count} times", f"{licence!r} does not say that everybody may pass it on", licence)
        for licence, count in sorted(licences.items())
        if licence.casefold() not in REDISTRIBUTABLE
    ]
    return [one for one in findings if not one.allowed_by or one.allowed_by.casefold() not in allowed]


def secrets_here() -> frozenset[str]:
    """The secrets in the environment of this process, by the names of their variables, and the Hub's token."""
    from huggingface_hub import get_token

    values = {value for name, value in os.environ.items() if _SECRET_NAMES.search(name)}
    return frozenset(value for value in (*values, get_token() or "") if len(value) >= SECRET_CHARS)


def _found_in(text: str, where: str, secrets: Collection[str]) -> Iterator[Finding]:
    for what in _secrets_in(text, secrets):
        yield Finding("secret", where, what)
    for kind in kinds_of_personal_data(text):
        yield Finding(kind, where, PERSONAL_DATA[kind], kind)


def _secrets_in(text: str, secrets: Collection[str]) -> Iterator[str]:
    if SECRETS.search(text):
        yield "what looks like a token, key or password"
    if any(secret in text for secret in secrets):
        yield "a secret of this machine's environment"


def _texts(path: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """All texts of a table, each with where it stands and the name of its column."""
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                for column, text in _walk(row, ""):
                    yield f"{name}, row {number}, {column}", column.rpartition(".")[2], text
                number += 1


def _walk(value: Any, column: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield column, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, f"{column}.{key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, column)
