# SPDX-License-Identifier: Apache-2.0
"""What can be said is said whole; what cannot is rejected before it reaches an engine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.speech.texts import PIECE_CHARS, clean, speakable, split_text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("...!?", "unspeakable"),
        ("", "unspeakable"),
        ("Привет, как дела?", "other_script"),
        ("I said 你好你好你好你好 to him", "other_script"),
        ("word " * 1000, "too_long_to_say"),
        ("Nice to meet you, Zoë!", None),
        ("1984?", None),
        ("¿Dónde está el niño?", None),
    ],
)
def test_what_cannot_be_said_is_rejected(text, reason):
    assert speakable(clean(text)).reason == reason


def test_signs_that_nobody_says_are_taken_out():
    assert clean("*Stop* it,\n\n <b>now</b>!\x07 ") == "Stop it, b now /b !"
    assert clean("I'm  “fine” - really…") == "I'm “fine” - really…"


@given(st.lists(st.sampled_from(["I came home late.", "Nobody was there!", "Why, though?", "x" * 30]), max_size=60))
def test_pieces_hold_the_whole_text_and_are_short(sentences):
    text = " ".join(sentences)
    pieces = split_text(text)
    assert " ".join(pieces).split() == text.split()
    assert all(len(piece) <= PIECE_CHARS for piece in pieces)


def test_a_sign_stays_with_its_word():
    words = ["x" * 30] * 6 + ["Why,", "though?"]
    for filler in range(1, 60):
        text = " ".join(["y" * filler, *words, "I came home late."])
        assert " ".join(split_text(text)).split() == text.split()


def test_a_text_is_cut_where_sentences_end():
    pieces = split_text("The bees are dead, all of them, and it is my doing. " * 10)
    assert len(pieces) > 1
    assert all(piece.endswith(".") for piece in pieces)
