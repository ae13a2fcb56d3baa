# SPDX-License-Identifier: Apache-2.0
"""The kinds of text that a recipe holds, each with the rule it follows, told in words when it is broken."""

import re
from typing import Annotated

from pydantic import AfterValidator

# No recipe may hold the keys of the usual services or a login: it is copied into run.json and the dataset card.
SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,}|(?:hf|gsk|ghp|github_pat|xai)_[A-Za-z0-9_]{16,}|AKIA[0-9A-Z]{12,}"
    r"|AIza[A-Za-z0-9_-]{20,})|(?i:bearer\s+[a-z0-9._~+/-]{12,})|://[^/@\s]+@"
)


def _matching(pattern: str, meaning: str) -> AfterValidator:
    """Check text against a pattern, and name the rule rather than the pattern when it fails."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(meaning)
        return value

    return AfterValidator(check)


Name = Annotated[str, _matching(r"[a-z0-9][a-z0-9._-]{0,63}", "must be a folder name: a-z, 0-9, '.', '_' and '-'")]
HubName = Annotated[str, _matching(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", "must read owner/name, as on the Hub")]
Revision = Annotated[
    # a branch or tag moves, and a moved one makes another dataset under the same recipe
    str, _matching(r"[0-9a-f]{40}", "must be a commit: 40 digits 0-9a-f, as under 'Files', 'History' on the Hub")
]
Language = Annotated[str, _matching(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*", "must be a code such as 'en' or 'pt-BR'")]
VariableName = Annotated[
    str,
    _matching(
        r"(?!AKIA)(?=[A-Z0-9]*_|[A-Z]{1,16}$)[A-Z][A-Z0-9_]{0,63}",
        "must be the NAME of an environment variable such as OPENAI_API_KEY; never write a key into a recipe",
    ),
]
BaseUrl = Annotated[
    str,
    _matching(r"https?://[^\s@?#]+", "must be an address such as http://127.0.0.1:8000/v1, without login or query"),
]
Storage = Annotated[
    str,
    _matching(r"s3://[a-z0-9][a-z0-9.-]{1,62}(?:/[\w.=-]+)+/?", "must read s3://bucket/prefix, without login or query"),
]
