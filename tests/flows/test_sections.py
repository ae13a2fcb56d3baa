# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.sections import cut_blocks, cut_sections
from validators.text import count_words, normalise_text

SENTENCE = "The fox ran over the hill and met a very old hen. "

pieces = st.sampled_from(["word", "It’s", "end.", "Why?", "\n", "\n\n", "“No,”", "x" * 60, "漢字。"])
texts = st.lists(pieces, min_size=1, max_size=300).map(" ".join).map(normalise_text).filter(bool)


@settings(deadline=None)
@given(texts, st.integers(20, 60))
def test_sections_together_hold_all_of_the_text_in_order(text, longest):
    sections = cut_sections(text, longest)
    assert "".join("".join(sections).split()) == "".join(text.split())
    assert all(section == section.strip() != "" for section in sections)
    assert max(count_words(section) for section in sections) <= longest * 4 / 3


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5), st.integers(20, 60))
def test_chapters_together_hold_all_words_in_order(chapters, longest):
    sections = cut_blocks(chapters, longest)
    assert "".join("".join(sections).split()) == "".join("".join(chapters).split())


def test_short_ends_join_the_section_before():
    text = "\n\n".join([SENTENCE * 2, SENTENCE * 2, "The end came."])
    assert [count_words(section) for section in cut_sections(text, 24)] == [24, 27]


@pytest.mark.parametrize("text", ["漢字" * 100_000, "a" * 1_000_000, "word " * 200_000], ids=["cjk", "a", "endless"])
def test_texts_without_borders_are_cut_in_good_time(text):
    sections = cut_sections(text.strip(), 150)
    assert len(sections) > 100
    assert max(map(len, sections)) <= 1000
