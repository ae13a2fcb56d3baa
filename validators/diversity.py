# SPDX-License-Identifier: Apache-2.0
"""How much the texts of a data set differ: in their words, their openings and their embeddings.

Words are cut at white space and punctuation and case-folded; apostrophes and hyphens inside a word stay, and so do
symbols such as emoji. Every figure is a function of the set of rows, whatever order they come in. Distinct-n falls and
the shares of openings and self-BLEU (up to its sample) rise as a group grows, so compare groups of like size.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from validators.cosines import Cosines, Vectors, across, check_unit_rows, encode, within
from validators.roles import Encoder

OPENING_WORDS = 3
PHRASE_WORDS = 4
BLEU_ORDER = 4
BLEU_TEXTS = 200  # Texygen compares all with all; more references than that hardly move the mean and cost their square

Gram = tuple[str, ...]

_WORD = re.compile(r"[^\s'\-]+(?:['\-][^\s'\-]+)*")


@dataclass(frozen=True, slots=True)
class TextDiversity:
    """Diversity of one group of texts; None where there are too few words, texts or no vectors.

    The cosines are those of all pairs in the group, and None for groups of several labels: `Diversity` has the pairs
    inside labels and across.
    """

    texts: int
    distinct_1: float | None
    distinct_2: float | None
    self_bleu: float | None
    commonest_opening: str | None
    """Case-folded; the first by text among equally common ones."""
    commonest_opening_share: float | None
    repeated_opening_share: float | None
    """Share of the texts whose opening is that of another one too."""
    cosines: Cosines | None


@dataclass(frozen=True, slots=True)
class Diversity:
    """Diversity of a data set. `neutral` is apart, since without an emotion to express its texts are alike by nature.

    `within_character`, `within_label` and `across_labels` pool the pairs of all rows, those of neutral too.
    """

    overall: TextDiversity
    without_neutral: TextDiversity | None
    neutral: TextDiversity | None
    """Both None where no row is neutral."""
    per_label: Mapping[str, TextDiversity]
    """Of the labels that occur, neutral left out, by name."""
    within_character: Cosines | None
    within_label: Cosines | None
    across_labels: Cosines | None

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and numbers, None where undefined."""
        return asdict(self)


def diversity(
    texts: Sequence[str],
    labels: Sequence[str],
    characters: Sequence[Hashable],
    *,
    neutral: str | None = None,
    encoder: Encoder | None = None,
    vectors: Vectors | None = None,
    seed: int = 0,
) -> Diversity:
    """Measure the diversity of texts over all and by label.

    `characters` identifies who speaks, across stories: (story_id, character) does. The embeddings are `vectors`, of
    shape (texts, dimensions) and each of length 1, or come from `encoder`; with neither the cosines are None. `seed`
    picks the sample of self-BLEU. Raises ModelError where vectors cannot be used.
    """
    if not len(texts) == len(labels) == len(characters):
        raise ValueError(f"{len(texts)} texts, {len(labels)} labels, {len(characters)} characters")
    if encoder is not None and vectors is not None:
        raise ValueError("give an encoder or vectors, not both")
    if encoder is not None:
        vectors = encode(texts, encoder)
    elif vectors is not None:
        check_unit_rows(vectors, len(texts), source="diversity")

    def measure(label: str) -> TextDiversity:
        rows = [row for row, other in enumerate(labels) if other == label]
        cosines = None if vectors is None else within(vectors[rows], [label] * len(rows))
        return _text_diversity([texts[row] for row in rows], cosines, seed)

    emotional = [text for text, label in zip(texts, labels, strict=True) if label != neutral]
    has_neutral = len(emotional) < len(texts)
    return Diversity(
        overall=_text_diversity(texts, None, seed),
        without_neutral=_text_diversity(emotional, None, seed) if has_neutral else None,
        neutral=measure(neutral) if neutral is not None and has_neutral else None,
        per_label={label: measure(label) for label in sorted(set(labels) - {neutral})},
        within_character=None if vectors is None else within(vectors, characters),
        within_label=None if vectors is None else within(vectors, labels),
        across_labels=None if vectors is None else across(vectors, labels),
    )


def tokens(text: str) -> list[str]:
    """Cut a text into case-folded words without punctuation."""
    return [_folded(word) for word in _words(text)]


def distinct_n(texts: Sequence[str], n: int) -> float | None:
    """Share of different n-grams among all n-grams of the texts, above 0 and at most 1; None without n-grams.

    Li et al. 2016 (A Diversity-Promoting Objective Function for Neural Conversation Models) divide by all words; by
    all n-grams, as later work does, the most diverse texts reach 1 for every n.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    counts: Counter[Gram] = Counter()
    for words in map(tokens, texts):
        counts.update(tuple(words[first : first + n]) for first in range(len(words) - n + 1))
    return len(counts) / counts.total() if counts else None


def self_bleu(texts: Sequence[str], *, most: int = BLEU_TEXTS, seed: int = 0) -> float | None:
    """Mean BLEU, from 0 to 1, of each text against all others as references (Zhu et al. 2018, Texygen); high is alike.

    Of more than `most` texts a sample is taken; None for fewer than two texts with words. BLEU is sacrebleu's for
    sentences: n-grams of up to 4 words (of up to all words in shorter texts), exponential smoothing. Its n-gram counts
    are gathered here for all texts at once, since leaving each out in turn costs 70 times as much.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    sentences = sorted(" ".join(words) for words in map(tokens, texts) if words)
    if len(sentences) > most:
        chosen = np.random.default_rng(seed).choice(len(sentences), size=most, replace=False)
        sentences = [sentences[index] for index in chosen]
    if len(sentences) < 2:
        return None
    counted = [extract_all_word_ngrams(sentence, 1, BLEU_ORDER) for sentence in sentences]
    highest: dict[Gram, tuple[int, int]] = {}  # the two highest counts of an n-gram in one text
    for counts, _ in counted:
        for gram, count in counts.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (max(first, count), max(second, min(first, count)))
    lengths = Counter(length for _, length in counted)
    scores = []
    for counts, length in counted:
        correct, total = [0] * BLEU_ORDER, [0] * BLEU_ORDER
        for gram, count in counts.items():
            first, second = highest[gram]
            total[len(gram) - 1] += count
            correct[len(gram) - 1] += min(count, second if count == first else first)
        others = lengths - Counter([length])
        reference = min(others, key=lambda other: (abs(other - length), other))
        bleu = BLEU.compute_bleu(correct, total, length, reference, smooth_method="exp", effective_order=True)
        scores.append(min(bleu.score / 100, 1.0))  # exp(log(100)) is slightly above 100
    return float(np.mean(sorted(scores)))


def repeated_openings(texts: Iterable[str], *, at_least: int, most: int) -> tuple[str, ...]:
    """The openings (first three words) of at least `at_least` texts, the `most` common of them first, ties by text.

    Each is spelt as where it occurs first. Shorter texts have no opening here: what they repeat is a whole text.
    """
    return _commonest((_grams_as_written(text, OPENING_WORDS)[:1] for text in texts), at_least, most)


def repeated_phrases(texts: Iterable[str], *, at_least: int, most: int, n_words: int = PHRASE_WORDS) -> tuple[str, ...]:
    """The runs of `n_words` words that occur in at least `at_least` texts, ordered and spelt as openings are."""
    return _commonest((_grams_as_written(text, n_words) for text in texts), at_least, most)


def _commonest(grams: Iterable[Sequence[tuple[Gram, str]]], at_least: int, most: int) -> tuple[str, ...]:
    """Rank n-grams by the number of texts that hold them; `grams` has for each text the n-grams and their spelling."""
    counts: Counter[Gram] = Counter()
    spelt: dict[Gram, str] = {}
    for of_text in grams:
        counts.update({gram for gram, _ in of_text})
        for gram, written in of_text:
            spelt.setdefault(gram, written)
    ranked = sorted(
        (gram for gram, count in counts.items() if count >= at_least), key=lambda gram: (-counts[gram], gram)
    )
    return tuple(spelt[gram] for gram in ranked[:most])


def _grams_as_written(text: str, n: int) -> list[tuple[Gram, str]]:
    """The n-grams of a text, folded and as written."""
    words = _words(text)
    folded = [_folded(word) for word in words]
    return [
        (tuple(folded[first : first + n]), " ".join(text[words[first].start() : words[first + n - 1].end()].split()))
        for first in range(len(words) - n + 1)
    ]


def _text_diversity(texts: Sequence[str], cosines: Cosines | None, seed: int) -> TextDiversity:
    openings = Counter(tuple(words[:OPENING_WORDS]) for words in map(tokens, texts) if words)
    commonest, count = min(openings.items(), key=lambda item: (-item[1], item[0]), default=((), 0))
    repeated = sum(count for count in openings.values() if count > 1)
    return TextDiversity(
        texts=len(texts),
        distinct_1=distinct_n(texts, 1),
        distinct_2=distinct_n(texts, 2),
        self_bleu=self_bleu(texts, seed=seed),
        commonest_opening=" ".join(commonest) if openings else None,
        commonest_opening_share=count / openings.total() if openings else None,
        repeated_opening_share=repeated / openings.total() if openings else None,
        cosines=cosines,
    )


def _words(text: str) -> list[re.Match[str]]:
    """Find the words, with their places in the text."""
    return list(_WORD.finditer(text.translate(_SEPARATED)))


def _folded(word: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", word[0].casefold())


class _Separated(dict[int, int]):
    """Translation table that learns each character once; one character for one, so that places stay."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        if char in "'’":
            self[code] = ord("'")
        elif char in "-‐‑":
            self[code] = ord("-")
        elif unicodedata.category(char)[0] in "PZ" or unicodedata.category(char) == "Cc":
            self[code] = ord(" ")
        else:
            self[code] = code
        return self[code]


_SEPARATED = _Separated()
