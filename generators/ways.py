# SPDX-License-Identifier: Apache-2.0
"""The ways in which an emotion shows in a line, as a writer is told them, and the gate for lines that only say them."""

from collections.abc import Sequence

from validators.gates import copies_nothing, split_words
from validators.judging import Gate
from validators.taxonomy import Label
from validators.verdicts import Verdict

CUE_NGRAM = 5  # "I can't believe it" is anybody's; "I am here, I will stay with you" is the prompt's
SHORTEST_CUE = 3  # words; "Thank you!" is anybody's
OWN_WORDS = 2  # beside a cue: "Run, it is coming" has none of its own


def ways_to_show(label: Label, seed: int) -> tuple[str, ...]:
    """Tell the ways in which an emotion shows in a line, each as a sentence of the prompt; (""), where none is known.

    The first is drawn by the row's seed, and each attempt is told one, the next attempt the next: told of several, a
    small model does the first of them in every row.
    """
    ways = label.shows_by
    start = seed % len(ways) if ways else 0
    return tuple(f" Who feels so may {way}." for way in (*ways[start:], *ways[:start])) or ("",)


def in_own_words(ways: Sequence[str]) -> Gate:
    """Reject a line that says the words by which it was told how the emotion shows.

    An idiom of them may stand, unless it is all but the whole line.
    """
    told = "\n".join(ways)

    def gate(text: str) -> Verdict:
        n = min(CUE_NGRAM, max(SHORTEST_CUE, len(split_words(text)) - OWN_WORDS))
        return copies_nothing(text, source=told, n=n, reason="prompt_residue")

    return gate
