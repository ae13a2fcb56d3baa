# SPDX-License-Identifier: Apache-2.0
"""Rule gates: each a small function that accepts a text or rejects it with a reason of its own.

Add a gate: write a function that returns a `Verdict`, give it a reason that is not taken, and name it in
`line_gates` (what a character says) or `situation_gates` (what is told about the moment).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from validators.judging import Gate
from validators.personal_data import no_personal_data
from validators.verdicts import ACCEPTED, Verdict

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+", re.UNICODE)
_FIRST_PERSON = frozenset(
    "i me my mine myself we us our ours ourselves i'm i'll i've i'd we're we'll we've we'd".split()  # noqa: SIM905
)
_SECOND_PERSON = frozenset("you your yours yourself you're you'll you've you'd".split())  # noqa: SIM905
_LATIN = frozenset("cs da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl sv tr vi".split())  # noqa: SIM905
"""Languages written in Latin letters."""
TITLES = frozenset(
    "the a an and of old young little big mr mrs miss dr doctor inspector king queen prince princess".split()  # noqa: SIM905
)
"""Words of a name that do not tell its bearer from others."""
_EVERYDAY = frozenset(
    {"thank", "thanks", "thanked", "thanking", "care", "cares", "cared", "careful", "carefully", "careless", "long"}
    | {"longer", "longest", "affect", "affects", "affected", "affecting", "compass", "compasses", "contents", "optimal"}
    | {"optimum", "lovely", "impression", "impressions", "tire", "tires", "admiral", "please"}
)
"""Words that share a stem with the name of an emotion (thankful, caring, longing, ...) and do not name it."""
_INTRODUCES = frozenset({"i'm", "am", "is", "me"})  # "I am Ida", "my name is Ida", "call me Ida"
_SENTENCE_ENDS = re.compile(r"[.!?…—-][\"'”’]?\s*$")

_MODEL_TALK = re.compile(
    r"\bas an? (ai|assistant|language model)\b|\blanguage model\b|\bopenai\b|\bchatgpt\b|"
    r"\bi (cannot|can't|can not|am unable to|won't) "
    r"(assist\b|help (you )?with (that|this)|fulfill?\b|comply\b|provide (such|that|this|any)|generate\b)|"
    r"\bmy (training data|programming|guidelines)\b",
    re.IGNORECASE,
)
_RESIDUE = re.compile(
    r"\bjson\b|\b(in|from|of) (the|this) passage\b|\bprompt\b|\binstructions?\b|\butterance\b|"
    r"\bthe (character|speaker|emotion)\b|\bfirst person\b|[{}\[\]<>|]|\\n|\$[a-z]|={2,}|`|\bline \d\b|"
    r"\bfeels? \w+ \((mild|strong)\)|\bintensity\b",
    re.IGNORECASE,
)


def split_words(text: str) -> list[str]:
    """Lower-case words without punctuation; apostrophes are made straight, so that I’m and I'm are one word."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """All runs of n neighbouring words."""
    return zip(*(words[start:] for start in range(n)), strict=False)


def right_length(text: str, *, fewest: int, most: int) -> Verdict:
    """Reject a text with too few or too many words."""
    n_words = len(split_words(text))
    if n_words < fewest:
        return Verdict.reject("too_short", f"{n_words} words < {fewest}")
    if n_words > most:
        return Verdict.reject("too_long", f"{n_words} words > {most}")
    return ACCEPTED


def right_language(text: str, *, language: str) -> Verdict:
    """Reject a text that is not in the language asked for, by py3langid's character n-grams.

    Short lines full of names mislead any identifier: a wrong language needs 0.9 of the probability to count, and a
    script that cannot be the language's counts at once.
    """
    letters = [char for char in text if char.isalpha()]
    foreign = sum(not unicodedata.name(char, "").startswith("LATIN") for char in letters)
    if language in _LATIN and foreign > len(letters) / 3:
        return Verdict.reject("wrong_language", f"{foreign} letters of another script instead of {language}")
    found, probability = _identifier().classify(text)
    if found != language and probability > 0.9:
        return Verdict.reject("wrong_language", f"{found} ({probability:.2f}) instead of {language}")
    return ACCEPTED


def first_person(text: str, *, character: str) -> Verdict:
    """Reject a line that tells about its speaker, or talks to him, instead of letting him talk.

    The speaker's own name may only occur where he introduces himself. Without a first-person word ("How dare you!")
    the line must address somebody, ask or exclaim.
    """
    words = split_words(text)
    if own_name := says_own_name(text, character=character):
        return Verdict.reject("names_its_speaker", own_name)
    if _FIRST_PERSON.intersection(words) or _SECOND_PERSON.intersection(words):
        return ACCEPTED
    if text.rstrip("\"'”’").endswith(("!", "?")):
        return ACCEPTED
    return Verdict.reject("not_first_person", "nobody speaks in it")


def says_own_name(text: str, *, character: str) -> str:
    """Find the name by which a line speaks of its own speaker, "" if it does not; who introduces himself may say it."""
    # as it is written: "I will wait" does not name Will
    own_name = {word for word in _WORD.findall(character) if word.lower() not in TITLES}
    before = ""  # "I am Ida" and "I'm old Ida" introduce her; "I'm sorry, Ida" speaks to her
    for word in _WORD.findall(text.replace("’", "'")):
        if word.removesuffix("'s") in own_name and before not in _INTRODUCES:
            return str(word).lower()
        before = before if word.lower() in TITLES else word.lower()
    return ""


def third_person(text: str) -> Verdict:
    """Reject a description in which the narrator says 'I' outside of quotation marks."""
    outside = re.sub(r"[\"“][^\"”]*[\"”]", " ", text)
    said = {"i", "i'm", "i've", "i'll", "i'd", "my", "me", "myself"}.intersection(split_words(outside))
    return Verdict.reject("not_third_person", ", ".join(sorted(said))) if said else ACCEPTED


def names_no_label(text: str, *, synonyms: Iterable[str]) -> Verdict:
    """Reject a text that says a word naming its emotion; see `naming_words`."""
    found = naming_words(text, synonyms)
    return Verdict.reject("names_its_label", ", ".join(found)) if found else ACCEPTED


def naming_words(text: str, synonyms: Iterable[str]) -> list[str]:
    """Find the words of a text that are forms of one of the synonyms (words or short phrases), in order.

    A form has the Snowball stem of the synonym; everyday words that share a stem by accident ('thank' and 'thankful')
    are none, unless they are the synonym itself.
    """
    words = split_words(text)
    stems = [_stem(word) for word in words]
    places: dict[str, list[int]] = {}
    for place, stem in enumerate(stems):
        places.setdefault(stem, []).append(place)
    found: dict[int, str] = {}
    for synonym in synonyms:
        parts = _parts(synonym)
        # a taxonomy has hundreds of synonyms, and a line a dozen words: nearly all end here
        for start in places.get(parts[0][1], ()) if parts else ():
            said = words[start : start + len(parts)]
            if len(said) == len(parts) and all(
                word == part or (stems[start + i] == stem and word not in _EVERYDAY)
                for i, (word, (part, stem)) in enumerate(zip(said, parts, strict=True))
            ):
                found.setdefault(start, " ".join(said))
    return [found[start] for start in sorted(found)]


def copies_nothing(text: str, *, source: str, n: int, reason: str = "copies_section") -> Verdict:
    """Reject a text that shares n neighbouring words with a source."""
    shared = set(ngrams(split_words(text), n)) & set(ngrams(split_words(source), n))
    return Verdict.reject(reason, " ".join(min(shared))) if shared else ACCEPTED


def no_stranger(text: str, *, strangers: Iterable[str], source: str) -> Verdict:
    """Reject a text that speaks of somebody from the prompt's examples who is not in the source."""
    found = {word.removesuffix("'s") for word in split_words(text)}.intersection(strangers) - set(split_words(source))
    return Verdict.reject("prompt_residue", ", ".join(sorted(found))) if found else ACCEPTED


def no_model_talk(text: str) -> Verdict:
    """Reject a refusal, or a text in which the model speaks of itself."""
    found = _MODEL_TALK.search(text)
    return Verdict.reject("refusal_or_model_talk", found.group()) if found else ACCEPTED


def no_residue(text: str) -> Verdict:
    """Reject a text with pieces of the prompt, of JSON or of markup in it."""
    found = _RESIDUE.search(text)
    return Verdict.reject("prompt_residue", found.group()) if found else ACCEPTED


def complete(text: str) -> Verdict:
    """Reject a text that breaks off: the last sentence has no end."""
    return ACCEPTED if _SENTENCE_ENDS.search(text) else Verdict.reject("truncated", text[-40:])


def no_repetition(text: str) -> Verdict:
    """Reject a text that repeats itself.

    That is a word four times running, two to four words three times running, or a third of its trigrams said before.
    """
    words = split_words(text)
    for size, times in ((1, 4), (2, 3), (3, 3), (4, 3)):
        for run in ngrams(words, size * times):
            if run == run[:size] * times:
                return Verdict.reject("repeats_itself", " ".join(run[:size]))
    trigrams = Counter(ngrams(words, 3))
    total = sum(trigrams.values())
    if total >= 6 and len(trigrams) < 2 / 3 * total:
        return Verdict.reject("repeats_itself", " ".join(trigrams.most_common(1)[0][0]))
    return ACCEPTED


@dataclass(frozen=True, slots=True)
class GateBounds:
    """The limits of the rule gates, as the recipe gives them."""

    min_words: int = 4
    max_words: int = 45
    copied_ngram: int = 6
    max_situation_words: int = 80  # a situation is two sentences; a longer one retells the story


def line_gates(
    *,
    character: str,
    section: str,
    synonyms: Sequence[str],
    language: str,
    prompt: str,
    strangers: Sequence[str],
    bounds: GateBounds,
) -> list[Gate]:
    """Gates for what a character says, the cheapest and most telling first.

    `prompt` is the constant part of the prompt, and `strangers` the people in its examples.
    """
    return [
        no_residue,
        no_model_talk,
        no_personal_data,
        partial(right_length, fewest=bounds.min_words, most=bounds.max_words),
        complete,
        no_repetition,
        partial(first_person, character=character),
        partial(names_no_label, synonyms=synonyms),
        partial(copies_nothing, source=section, n=bounds.copied_ngram),
        partial(copies_nothing, source=prompt, n=bounds.copied_ngram, reason="prompt_residue"),
        partial(no_stranger, strangers=strangers, source=section),
        partial(right_language, language=language),
    ]


def situation_gates(
    *,
    line: str,
    section: str,
    feelings: Sequence[str],
    language: str,
    prompt: str,
    strangers: Sequence[str],
    bounds: GateBounds,
) -> list[Gate]:
    """Gates for the description of a moment: it may retell the section, but not say the line or name any feeling."""
    return [
        no_residue,
        no_model_talk,
        no_personal_data,
        partial(right_length, fewest=bounds.min_words, most=bounds.max_situation_words),
        complete,
        no_repetition,
        third_person,
        partial(names_no_label, synonyms=feelings),
        partial(copies_nothing, source=line, n=bounds.copied_ngram, reason="gives_the_line_away"),
        partial(copies_nothing, source=prompt, n=bounds.copied_ngram, reason="prompt_residue"),
        partial(no_stranger, strangers=strangers, source=section),
        partial(right_language, language=language),
    ]


@cache
def _parts(synonym: str) -> tuple[tuple[str, str], ...]:
    """The words of a synonym, each with its stem."""
    return tuple((word, _stem(word)) for word in split_words(synonym))


@cache
def _stem(word: str) -> str:
    import snowballstemmer

    # a stemmer of its own for each word: one keeps the word it works on, and gates run in several threads
    stem: str = snowballstemmer.stemmer("english").stemWord(word)
    return stem


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
