# SPDX-License-Identifier: Apache-2.0
"""Text as it may enter the pipeline: one Unicode form, no hidden characters, no control tokens of a chat template."""

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
_BLANKS = re.compile("[^\\S\n]+")
_BLANK_AROUND_LINE_END = re.compile(" ?\n ?")
_MANY_LINE_ENDS = re.compile("\n{3,}")

# Cc control, Cf format (bidi, zero-width, soft hyphen, tag characters), Cs lone surrogates, which UTF-8 cannot hold
_HIDDEN = frozenset({"Cc", "Cf", "Cs"})
# Zero-width joiners spell words in Persian and Indic scripts and build emoji; between other characters they only hide.
_JOINERS = frozenset("\u200c\u200d")
_JOINED = frozenset({"Lo", "Mn", "Mc", "So", "Sk"})
# Letters that are blank: not white space to Unicode, yet nothing to see.
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")

# A chat template reads these as the border of a message. The brackets become round ones: nothing is deleted, so that
# the pieces around a token can never join into another one.
_TOKEN_EDGES = re.compile(r"<[|｜]|[|｜]>")
_TEMPLATE_NAMES = (
    r"s|bos|eos|unk|pad|cls|sep|mask|sys|user|assistant|system|human|bot|start_of_turn|end_of_turn|start_of_image|"
    r"think|thinking|tool_call|tool_calls|tool_response|tools|function_call|function_calls|fim_prefix|fim_middle|"
    r"fim_suffix|inst|available_tools|tool_results|tool_content|system_prompt|unused\d+|extra_id_\d+"
)
_ANGLE_TOKEN = re.compile(rf"<( ?/? ?(?:{_TEMPLATE_NAMES}) ?/? ?)>", re.IGNORECASE)
_SQUARE_TOKEN = re.compile(rf"\[( ?/? ?(?:{_TEMPLATE_NAMES}) ?)\]", re.IGNORECASE)


def normalise_text(text: str) -> str:
    """Bring text into the one form that the pipeline stores; doing it again changes nothing."""
    text = unicodedata.normalize("NFC", text)
    text = _without_hidden(_LINE_ENDS.sub("\n", text))
    text = _BLANKS.sub(" ", text)
    text = _BLANK_AROUND_LINE_END.sub("\n", text)
    text = _MANY_LINE_ENDS.sub("\n\n", text).strip()
    text = _disarm_control_tokens(text)  # now that no more than one blank can stand in a token
    # what is hidden may have kept a letter from its accent
    return unicodedata.normalize("NFC", text)


def count_words(text: str) -> int:
    """Count as `words` splits."""
    return len(text.split())


def words(text: str) -> list[str]:
    """Split at white space, as all word limits of the recipe count."""
    return text.split()


def has_letters(text: str) -> bool:
    """Whether there is anything to read at all."""
    return any(char.isalpha() for char in text)


def _without_hidden(text: str) -> str:
    """Drop the characters that a reader cannot see but a model can."""
    hidden = {char for char in set(text) if _is_hidden(char)}  # a text has few different characters
    if not hidden:
        return text
    kept: list[str] = []
    for position, char in enumerate(text):
        if char not in hidden:
            kept.append(char)
        elif char in _JOINERS:
            after = text[position + 1 : position + 2]
            if kept and after and {unicodedata.category(kept[-1]), unicodedata.category(after)} <= _JOINED:
                kept.append(char)
    return "".join(kept)


def _is_hidden(char: str) -> bool:
    return char not in "\n\t" and (unicodedata.category(char) in _HIDDEN or char in _BLANK_LETTERS)


def _disarm_control_tokens(text: str) -> str:
    text = _TOKEN_EDGES.sub(lambda edge: "(" if edge[0][0] == "<" else ")", text)
    text = _ANGLE_TOKEN.sub(r"(\1)", text)
    return _SQUARE_TOKEN.sub(r"(\1)", text)
