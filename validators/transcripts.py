# SPDX-License-Identifier: Apache-2.0
"""The word error rate of a transcript, blind to what is written in more than one way: case, punctuation, numbers."""

import re
import unicodedata
from collections.abc import Callable
from functools import partial

UNSPACED = frozenset({"ja", "zh", "yue", "th", "lo", "my", "km"})
"""Languages written without spaces between words: characters are counted in place of words."""

_NUMBER = re.compile(r"(?P<whole>\d+)(?:(?P<mark>[.:])(?P<part>\d+))?(?P<ordinal>(?:st|nd|rd|th)\b)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_MONEY = re.compile(r"([$£€])(\d[\d.,]*)")
_SPOKEN_AND = re.compile(r"\b(hundred|thousand|million)\s+and\b")
_SYMBOLS = {"$": "dollars", "£": "pounds", "€": "euros", "%": " percent", "&": " and "}
_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}

Spelling = Callable[[re.Match[str], str], str]
"""Spells out one number in a language."""


def word_error_rate(said: str, heard: str, *, language: str) -> float:
    """Edit distance in words over the words of the text (characters where a language has no spaces); 0 is perfect.

    A number is read in each way that people say it (1984 as a count, as a year, digit by digit) and the reading that
    fits best counts. A text without words has rate 0 if nothing was heard, else 1.
    """
    references, hypotheses = _readings(said, language), _readings(heard, language)
    if not references[0]:
        return float(bool(hypotheses[0]))
    errors = min(_edits(reference, hypothesis) for reference in references for hypothesis in hypotheses)
    # of the words as counts: a reading digit by digit must not make one wrong number a smaller share
    return errors / len(references[0].split())


def spoken_words(text: str, *, language: str) -> list[str]:
    """Split a text into the words that are said: lower-case, without punctuation, numbers spelled out as counts."""
    return _normalise(text, language, _as_count).split()


def _edits(reference: str, hypothesis: str) -> int:
    import jiwer

    if not (reference and hypothesis):
        return len(reference.split()) + len(hypothesis.split())
    found = jiwer.process_words(reference, hypothesis)
    return int(found.substitutions + found.deletions + found.insertions)


def _readings(text: str, language: str) -> list[str]:
    spellings: tuple[Spelling, ...] = (_as_count, _as_pairs, _as_digits)
    if not any(char.isdecimal() for char in text):
        spellings = (_as_count,)
    return list(dict.fromkeys(_normalise(text, language, spelling) for spelling in spellings))


def _normalise(text: str, language: str, spelling: Spelling) -> str:
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    plain = _MONEY.sub(lambda found: f"{found[2]} {_SYMBOLS[found[1]]}", _THOUSANDS.sub("", plain))
    for symbol, word in _SYMBOLS.items():
        plain = plain.replace(symbol, word)
    plain = _NUMBER.sub(partial(_spaced, spelling, language), plain)
    plain = plain.replace("'", "")  # "don't" and "dont" are one word, "well-known" is two
    plain = "".join(char if char.isalnum() or unicodedata.category(char)[0] == "M" else " " for char in plain)
    words = [_TITLES.get(word, word) if language == "en" else word for word in plain.split()]
    joined = _SPOKEN_AND.sub(r"\1", " ".join(words))  # "a hundred and five" is "a hundred five"
    return " ".join(joined.replace(" ", "")) if language in UNSPACED else joined


def _spaced(spelling: Spelling, language: str, found: re.Match[str]) -> str:
    return f" {spelling(found, language)} "


def _as_count(found: re.Match[str], language: str) -> str:
    if found["ordinal"] and not found["part"]:
        return _say(found["whole"], language, to="ordinal")
    if found["part"] and found["mark"] == ".":
        return f"{_say(found['whole'], language)} {_point(language)} {_as_each(found['part'], language)}"
    return " ".join(_say(number, language) for number in (found["whole"], found["part"]) if number)


def _as_pairs(found: re.Match[str], language: str) -> str:
    """Years (nineteen eighty-four) and times (seven thirty; seven)."""
    if found["part"]:
        minutes = found["part"]
        return f"{_say(found['whole'], language)} {_say(minutes, language) if int(minutes) else ''}"
    if len(found["whole"]) == 4 and not found["ordinal"]:
        return _say(found["whole"], language, to="year")
    return _as_count(found, language)


def _as_digits(found: re.Match[str], language: str) -> str:
    return _as_each(found["whole"] + (found["part"] or ""), language)


def _as_each(digits: str, language: str) -> str:
    return " ".join(_say(digit, language) for digit in digits)


def _point(language: str) -> str:
    return "point" if language == "en" else ""


def _say(digits: str, language: str, *, to: str = "cardinal") -> str:
    from num2words import num2words

    if len(digits) > 15:  # nobody says it as one number
        return " ".join(digits)
    try:
        return str(num2words(int(digits), lang=language, to=to))
    except NotImplementedError:  # a language or a form that num2words does not know: the digits are compared
        return digits
