# SPDX-License-Identifier: Apache-2.0
"""Which label of a taxonomy a person means who answers how somebody feels."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Protocol, cast

import snowballstemmer

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# 'not happy' is not yet sadness, and 'less afraid' not yet calm: such an answer names no label
_NEGATIONS = frozenset(
    ["no", "not", "never", "without", "nothing", "neither", "nor", "none", "hardly", "barely", "less", "cannot"]
)


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802  (the library's own name)


@cache
def _stemmer() -> _Stemmer:
    return cast("_Stemmer", snowballstemmer.stemmer("english"))


@lru_cache(maxsize=50_000)  # a text has few different words, and the pure Python stemmer is slow
def _stem(word: str) -> str:
    return _stemmer().stemWord(word)


def stems(text: str) -> tuple[str, ...]:
    """Reduce text to the Snowball stems of its words, so that 'frightened' and 'frightening' are one."""
    return tuple(_stem(word) for word in _WORD.findall(text.lower().replace("’", "'")))


def label_for(answers: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> str | None:
    """Find the label that answers name: the first answer that names one decides, as a whole before by its words."""
    by_phrase = _phrases(synonyms)
    for answer in answers:
        words = stems(answer)
        if _is_negated(answer):
            continue
        label = by_phrase.get(words) or _longest_phrase_in(words, by_phrase)
        if label is not None:
            return label
    return None


def _phrases(synonyms: Mapping[str, Iterable[str]]) -> dict[tuple[str, ...], str]:
    by_phrase: dict[tuple[str, ...], str] = {}
    for label, names in synonyms.items():
        for name in names:
            if phrase := stems(name):
                by_phrase.setdefault(phrase, label)  # a word of two labels belongs to the first
    return by_phrase


def _longest_phrase_in(words: tuple[str, ...], by_phrase: Mapping[tuple[str, ...], str]) -> str | None:
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            if label := by_phrase.get(words[start : start + length]):
                return label
    return None


def _is_negated(answer: str) -> bool:
    words = _WORD.findall(answer.lower().replace("’", "'"))
    return any(word in _NEGATIONS or word.endswith("n't") for word in words)
