# SPDX-License-Identifier: Apache-2.0
"""Diversity falls where texts repeat each other, and what repeats is found in the spelling of the texts."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from validators import cosines
from validators.cosines import Cosines, Vectors, across, encode, within
from validators.diversity import (
    distinct_n,
    diversity,
    repeated_openings,
    repeated_phrases,
    self_bleu,
    tokens,
)
from validators.errors import ModelError

DIFFERENT = ["The river rose again.", "Nobody asked me to stay!", "Seven lamps, and all of them dark?"]


def vectors(*rows: Sequence[float]) -> Vectors:
    wide = np.array(rows, dtype=np.float64)
    unit: Vectors = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return unit


def random_vectors(rows: int, seed: int = 0) -> Vectors:
    return vectors(*np.random.default_rng(seed).normal(size=(rows, 4)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can’t — I CAN'T!", ["i", "can't", "i", "can't"]),
        ("well-known 'truth'", ["well-known", "truth"]),
        ("wait--what…now", ["wait", "what", "now"]),
        ("Fine 😀.", ["fine", "😀"]),
        ("कि कीजिए।", ["कि", "कीजिए"]),
        ("... ?!", []),
        ("", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


def test_distinct_n_by_hand():
    assert distinct_n(["No. No!", "Oh no"], 1) == pytest.approx(2 / 4)
    assert distinct_n(["No. No!", "Oh no"], 2) == pytest.approx(2 / 2)
    assert distinct_n(["No"], 2) is None  # n-grams do not cross texts
    assert distinct_n([], 1) is None
    assert distinct_n(["..."], 1) is None
    with pytest.raises(ValueError, match="n must be"):
        distinct_n(DIFFERENT, 0)


def test_self_bleu_is_the_mean_that_sacrebleu_gives():
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdefg"), size=random.integers(1, 12))) for _ in range(40)]
    texts += ["a a a a b", "a a", "a a a"]
    metric = BLEU(tokenize="none", effective_order=True)
    alone = [metric.sentence_score(text, texts[:n] + texts[n + 1 :]).score for n, text in enumerate(texts)]
    assert self_bleu(texts) == pytest.approx(np.mean(alone) / 100)


def test_self_bleu_of_equal_and_of_unlike_texts():
    assert self_bleu(["I never said that to you."] * 5) == pytest.approx(1.0)
    assert self_bleu(["No."] * 5) == pytest.approx(1.0)  # shorter than four words
    assert self_bleu(["one two three", "four five six"]) == 0.0
    assert self_bleu(["one two three"]) is None
    assert self_bleu(["one two three", "..."]) is None  # nothing to compare with
    assert self_bleu([]) is None


def test_self_bleu_samples_by_its_seed_alone():
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(list("abcdefghij"), size=6)) for _ in range(300)]
    assert self_bleu(texts, seed=1) == self_bleu(texts[::-1], seed=1)
    assert self_bleu(texts, seed=1) != self_bleu(texts, seed=2)
    assert self_bleu(texts, most=300, seed=1) == self_bleu(texts, most=300, seed=2)


def test_openings_are_counted_by_their_words():
    texts = ["I can't believe it!", "i can’t BELIEVE you", "I can't, believe me", "Go now, please", "...", "Hi"]
    found = diversity(texts, ["joy"] * 6, range(6)).overall
    assert found.commonest_opening == "i can't believe"
    assert found.commonest_opening_share == pytest.approx(3 / 5)  # one text has no word to open with
    assert found.repeated_opening_share == pytest.approx(3 / 5)
    unlike = diversity(DIFFERENT, ["joy"] * 3, range(3)).overall
    assert unlike.commonest_opening == "nobody asked me"  # the first by text
    assert unlike.commonest_opening_share == pytest.approx(1 / 3)
    assert unlike.repeated_opening_share == 0.0


def test_repeated_openings_come_as_first_written_the_commonest_first():
    texts = [
        "Go now, please.",
        "Oh,  my God!",
        "I can’t believe it",
        "oh my god, no",
        "I can't believe you",
        "OH MY GOD",
        "Go now please",
        "Hi there",
        "Hi there",
    ]
    assert repeated_openings(texts, at_least=2, most=9) == ("Oh, my God", "Go now, please", "I can’t believe")
    assert repeated_openings(texts, at_least=3, most=9) == ("Oh, my God",)
    assert repeated_openings(texts, at_least=2, most=2) == ("Oh, my God", "Go now, please")
    assert repeated_openings(texts, at_least=2, most=0) == ()
    assert repeated_openings([], at_least=1, most=9) == ()


def test_repeated_phrases_count_each_text_once():
    texts = [
        "No more, no more, no more, no more!",
        "And the end of the road is near",
        "At the end of the Road",
        "It is the end of the line",
    ]
    assert repeated_phrases(texts, at_least=2, most=9) == ("the end of the", "end of the road")
    assert repeated_phrases(texts, at_least=3, most=9) == ("the end of the",)
    assert repeated_phrases(texts, at_least=3, most=9, n_words=2) == ("end of", "of the", "the end")


def test_cosines_within_and_across_by_hand():
    rows = vectors([1, 0], [0, 1], [1, 1], [-1, 0])
    groups = ["a", "a", "b", "b"]
    near = 0.5**0.5
    # pairs (0, 1) and (2, 3) of 0 and -0.707; each row has one neighbour
    found = within(rows, groups)
    assert found.pairs == 2
    assert found.mean == pytest.approx(-near / 2, abs=1e-6)
    assert found.nearest == pytest.approx(-near / 2, abs=1e-6)
    # (0, 2) 0.707, (0, 3) -1, (1, 2) 0.707, (1, 3) 0; nearest 0.707, 0.707, 0.707, 0
    found = across(rows, groups)
    assert found.pairs == 4
    assert found.mean == pytest.approx((2 * near - 1) / 4, abs=1e-6)
    assert found.nearest == pytest.approx(3 * near / 4, abs=1e-6)


def test_cosines_without_pairs_are_undefined():
    rows = random_vectors(3)
    assert within(rows, "abc") == Cosines(0, None, None)
    assert across(rows, "aaa") == Cosines(0, None, None)
    assert within(rows[:0], "") == across(rows[:0], "") == Cosines(0, None, None)


@pytest.mark.parametrize(("block", "tile"), [(1, 1), (2, 3), (3, 2), (7, 4)])
def test_blocks_change_nothing(monkeypatch, block, tile):
    rows, groups = random_vectors(11), "aabbbbbcccc"
    products = rows.astype(np.float64) @ rows.astype(np.float64).T
    same = np.array([[one == other for other in groups] for one in groups]) & ~np.eye(11, dtype=np.bool_)
    other = np.array([[one != other for other in groups] for one in groups])
    monkeypatch.setattr(cosines, "BLOCK_ROWS", block)
    monkeypatch.setattr(cosines, "TILE_ROWS", tile)
    for pairs, found in ((same, within(rows, groups)), (other, across(rows, groups))):
        assert found.pairs == pairs.sum() / 2
        assert found.mean == pytest.approx(products[pairs].mean(), abs=2e-6)
        assert found.nearest == pytest.approx(np.where(pairs, products, -2).max(axis=1).mean(), abs=2e-6)


class CountingEncoder:
    model = "counting@1"

    def __init__(self, length: float = 1.0) -> None:
        self.length = length
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.seen += texts
        return (vectors(*[[len(text), text.count("e") + 1] for text in texts]) * self.length).astype(np.float32)


def test_equal_texts_are_encoded_once_and_keep_their_places(monkeypatch):
    monkeypatch.setattr(cosines, "ENCODE_ROWS", 2)
    encoder = CountingEncoder()
    texts = ["tree", "a", "tree", "queue", "a"]
    assert encode(texts, encoder).tolist() == CountingEncoder().encode(texts).tolist()
    assert encoder.seen == ["a", "queue", "tree"]


@pytest.mark.parametrize("length", [2.0, 0.0, np.nan])
def test_vectors_that_are_not_of_length_one_are_refused(length):
    with pytest.raises(ModelError, match=r"2 of 2 vectors are not finite or not of length 1\n.*counting@1"):
        diversity(["one", "two"], ["joy"] * 2, "ab", encoder=CountingEncoder(length))
    with pytest.raises(ModelError, match=r"shape \(3, 4\) and type float32 for 2 texts"):
        diversity(["one", "two"], ["joy"] * 2, "ab", vectors=random_vectors(3))


def test_groups_are_measured_apart():
    texts = ["I am so happy now"] * 3 + DIFFERENT
    labels = ["joy"] * 3 + ["fear", "neutral", "neutral"]
    rows = vectors(*[[1, 0, 0]] * 3, [0, 1, 0], [0, 0, 1], [0, 1, 1])
    found = diversity(texts, labels, list("ababab"), neutral="neutral", vectors=rows)
    assert list(found.per_label) == ["fear", "joy"]
    assert found.per_label["joy"].self_bleu == pytest.approx(1.0)
    assert found.per_label["joy"].cosines == Cosines(3, 1.0, 1.0)
    assert found.per_label["fear"].self_bleu is None
    assert found.per_label["fear"].cosines == Cosines(0, None, None)
    assert found.neutral is not None
    assert found.without_neutral is not None
    assert (found.overall.texts, found.without_neutral.texts, found.neutral.texts) == (6, 4, 2)
    assert found.neutral.distinct_1 == 1.0
    assert found.within_label is not None
    assert found.within_label.pairs == 4
    assert found.within_character == within(rows, list("ababab"))
    assert found.across_labels == across(rows, labels)


def test_without_neutral_or_vectors_those_figures_are_none():
    found = diversity(DIFFERENT, ["joy", "fear", "joy"], "abc", neutral="neutral")
    assert (found.neutral, found.without_neutral, found.within_label) == (None, None, None)
    assert list(found.per_label) == ["fear", "joy"]
    assert diversity(DIFFERENT, ["joy"] * 3, "abc").neutral is None


def test_no_texts_and_one_text_are_json():
    for texts in ([], ["Only one."]):
        found = diversity(texts, ["joy"] * len(texts), [0] * len(texts), encoder=CountingEncoder())
        plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
        assert plain["overall"]["texts"] == len(texts)
        assert plain["overall"]["self_bleu"] is None
        assert plain["within_label"] == {"pairs": 0, "mean": None, "nearest": None}


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 texts, 2 labels"):
        diversity(DIFFERENT, ["joy"] * 2, "abc")
    with pytest.raises(ValueError, match="not both"):
        diversity(DIFFERENT, ["joy"] * 3, "abc", encoder=CountingEncoder(), vectors=random_vectors(3))
