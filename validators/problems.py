# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a document, told all at once and each with its place."""

import difflib
from collections.abc import Iterable, Sequence

Place = tuple[str | int, ...]
"""Where in a document: keys and positions from the top, such as ("utterances", "labels", 0)."""


class ProblemsError(ValueError):
    """Several things wrong with one record, each with its place below it; raised inside a pydantic validator."""

    def __init__(self, problems: Sequence[tuple[Place, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = tuple(problems)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the closest known word, then all of them."""
    names = list(known)
    # compared without case, since 'Joy' for 'joy' is the commonest slip of all
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"Did you mean '{by_lower[close[0]]}'? " if close else ""
    return f"{hint}Known: {', '.join(names) or 'none'}."
