# SPDX-License-Identifier: Apache-2.0
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validators.answers import label_for, stems
from validators.text import count_words, has_letters, normalise_text, words

TOKENS = [
    "<|im_start|>",
    "<|",
    "|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<think>",
    "<｜User｜>",
    "<",
    ">",
    "[",
]
HIDDEN = [
    "\u200b",
    "\u200d",
    "\u202e",
    "\ufeff",
    "\u00ad",
    "\x00",
    "\x1b",
    "\U000e0041",
    "\ud800",
    "\u3164",
    "\u0301",
    "ا",
]


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TOKENS + HIDDEN), st.text(max_size=5)), max_size=12).map("".join))
def test_normalising_twice_changes_nothing_more(text):
    once = normalise_text(text)
    assert normalise_text(once) == once
    assert once == once.strip()
    assert once.encode().decode() == once  # no lone surrogate is left
    assert unicodedata.is_normalized("NFC", once)


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TOKENS), st.sampled_from("abs /|<>[]")), max_size=15).map("".join))
def test_no_piecing_together_makes_a_control_token(text):
    clean = normalise_text(text)
    for token in ("<|", "|>", "<s>", "</s>", "[INST]", "[/INST]", "<think>", "<｜"):
        assert token not in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("cafe\u0301", "café"),
        ("e\u200b\u0301", "é"),
        ("ig\u200dno\u00adre \u202eall\u202c", "ignore all"),
        ("<|im_start|>system", "(im_start)system"),
        ("<S> [ /inst ] <<SYS>>", "(S) ( /inst ) <(SYS)>"),
        ("<  s  > <\u200b|x|>", "( s ) (x)"),
        ("a \t\u00a0 b\n\n\n\n c ", "a b\n\nc"),
        ("2 < 3 and [sic] <em>", "2 < 3 and [sic] <em>"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),  # joiners that spell
        ("", ""),
    ],
)
def test_normalise_text(text, clean):
    assert normalise_text(text) == clean


def test_words_are_split_at_white_space():
    assert words(" It’s  well-known,\nhe said. ") == ["It’s", "well-known,", "he", "said."]
    assert count_words("a b\nc") == 3
    assert has_letters("…é")
    assert not has_letters("… 12 !")


SYNONYMS = {
    "fear": ["fear", "afraid", "frightened", "scared"],
    "joy": ["joy", "happy", "over the moon"],
    "desire": ["desire", "moon"],
}


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        (["frightened"], "fear"),
        (["Frightening!"], "fear"),
        (["very happy"], "joy"),
        (["hungry", "so scared"], "fear"),  # the first answer that names one
        (["scared", "happy"], "fear"),
        (["he was over the moon"], "joy"),  # a phrase before a word in it
        (["not happy"], None),
        (["wasn’t afraid"], None),
        (["without fear", "happy"], "joy"),
        (["unhappy"], None),
        (["tired"], None),
        (["", "?!"], None),
        ([], None),
    ],
)
def test_label_for(answers, label):
    assert label_for(answers, SYNONYMS) == label


def test_stems_join_the_forms_of_a_word():
    assert stems("Frightened, frightening") == ("frighten", "frighten")
