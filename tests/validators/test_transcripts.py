# SPDX-License-Identifier: Apache-2.0
"""The word error rate sees words, not their spelling."""

import pytest

from validators.transcripts import spoken_words, word_error_rate


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("I cannot believe it!", "i cannot believe it"),
        ("Don’t you dare, Ida.", "Don't you dare Ida"),
        ("a well-known face", "A well known face."),
        ("She left at 7.30.", "She left at seven thirty."),
        ("She left at 7:30.", "She left at 7.30"),
        ("at 7:00", "at seven"),
        ("It happened in 1984.", "It happened in nineteen eighty-four"),
        ("1984 sheep", "one thousand nine hundred and eighty four sheep"),
        ("He owes me $1,200.", "He owes me one thousand two hundred dollars."),
        ("the 3rd time", "the third time"),
        ("2.5 miles", "two point five miles"),
        ("Call 911!", "call nine one one"),
        ("Mr. Fox is 50% wolf", "Mister Fox is fifty percent wolf"),
        ("the café", "The cafe\u0301"),
    ],
)
def test_what_is_written_either_way_is_no_error(said: str, heard: str) -> None:
    assert word_error_rate(said, heard, language="en") == 0
    assert word_error_rate(heard, said, language="en") == 0


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("one two three four", "one two tree four", 0.25),
        ("one two three four", "one two four", 0.25),
        ("one two three four", "one two three four four", 0.25),
        ("one two", "", 1.0),
        ("one two", "a b c d", 2.0),
        ("...", "", 0.0),
        ("...", "thank you", 1.0),
        ("20 sheep", "30 sheep", 0.5),
    ],
)
def test_a_wrong_missing_or_added_word_is_an_error(said: str, heard: str, rate: float) -> None:
    assert word_error_rate(said, heard, language="en") == pytest.approx(rate)


def test_characters_count_where_a_language_has_no_spaces() -> None:
    assert word_error_rate("こんにちは、世界。", "こんにちは世界", language="ja") == 0
    assert word_error_rate("こんにちは世界", "こんにちわ世界", language="ja") == pytest.approx(1 / 7)


def test_numbers_are_said_in_the_language_of_the_text() -> None:
    assert spoken_words("Um 7 Uhr", language="de") == ["um", "sieben", "uhr"]
    assert spoken_words("7", language="xx") == ["7"]
    assert word_error_rate("7" * 400, "7" * 400, language="en") == 0
