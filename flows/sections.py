# SPDX-License-Identifier: Apache-2.0
"""Cut stories into sections at their natural borders."""

import re
from collections.abc import Iterable

from semantic_text_splitter import TextSplitter

from validators.text import count_words, words

TAIL_SHARE = 1 / 3  # of the longest section; a shorter end holds too little to ask a feeling from

# A script without spaces is one "word" to white space: count characters instead, two to a word as in Chinese.
_LONGEST_WORD = 50
_LONGEST_TOKEN = 1000  # a single one longer than this would fill a prompt
_CHARACTERS_PER_WORD = 2
# the splitter takes minutes for a megabyte without any border: give an endless line one every 20,000 characters
_ENDLESS_LINE = re.compile(r"([^\n]{20000}\S*)[^\S\n]")
_SENTENCE = re.compile(r"[^。！？!?…\n]*[。！？!?…\n]+[」』”’\"')]*|[^。！？!?…\n]+")


def cut_sections(text: str, longest: int) -> tuple[str, ...]:
    """Cut text at paragraphs, or else sentences, into sections of at most `longest` words.

    An end below a third joins the section before it, which then has up to a third more.
    """
    if not _is_spaced(text):
        return _cut_unspaced(text, longest * _CHARACTERS_PER_WORD)
    text = _ENDLESS_LINE.sub(r"\1\n\n", text)
    sections: list[str] = TextSplitter.from_callback(count_words, longest).chunks(text)
    if len(sections) > 1 and count_words(sections[-1]) < longest * TAIL_SHARE:
        # cut out of the text itself, so that the border between the two stays what it was
        start = text.rindex(sections[-1])
        start = text.rindex(sections[-2], 0, start)
        sections[-2:] = [text[start:].strip()]
    return tuple(sections)


def cut_blocks(blocks: Iterable[str], longest: int) -> tuple[str, ...]:
    """Cut chapters into sections; one too short for a section of its own joins the one before if that has room."""
    sections: list[str] = []
    for block in blocks:
        pieces = cut_sections(block, longest)
        if sections and len(pieces) == 1 and count_words(pieces[0]) < longest * TAIL_SHARE:
            joined = f"{sections[-1]}\n\n{pieces[0]}"
            if _is_spaced(joined) and count_words(joined) <= longest:
                sections[-1] = joined
                continue
        sections += pieces
    return tuple(sections)


def _cut_unspaced(text: str, most: int) -> tuple[str, ...]:
    """Cut where sentences end; the splitter takes minutes for a megabyte without spaces."""
    sections = [""]
    for sentence in _SENTENCE.findall(text):
        for start in range(0, len(sentence), most):
            piece = sentence[start : start + most]
            if len(sections[-1]) + len(piece) > most:
                sections.append("")
            sections[-1] += piece
    return tuple(stripped for section in sections if (stripped := section.strip()))


def _is_spaced(text: str) -> bool:
    lengths = [len(word) for word in words(text) if len(word) > _LONGEST_WORD]
    return not lengths or (sum(lengths) < len(text) / 2 and max(lengths) <= _LONGEST_TOKEN)
