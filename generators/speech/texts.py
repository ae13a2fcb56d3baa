# SPDX-License-Identifier: Apache-2.0
"""Text made ready to be said: what cannot be said is rejected, what is long is cut at sentence borders.

Numbers, dates, units and abbreviations are left as they are: the engine's own grapheme-to-phoneme library reads them
by their language.
"""

import re
import unicodedata

from semantic_text_splitter import TextSplitter

from validators.verdicts import ACCEPTED, Verdict

PIECE_CHARS = 220
"""Of one piece: an engine with a window of 510 phonemes holds about 350 characters; a long piece drifts."""
MOST_CHARS = 1_200  # about 80 s; a clip is an utterance, and a viewer loads it whole
FOREIGN_SHARE = 0.1  # a borrowed name may hold a letter of another script

_MARKUP = re.compile(r"[*_#`~^|<>{}\[\]\\]+")
_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """Take out what nobody says: markup signs, control characters, doubled spaces."""
    kept = "".join(char for char in unicodedata.normalize("NFC", text) if char.isspace() or char.isprintable())
    return _SPACE.sub(" ", _MARKUP.sub(" ", kept)).strip()


def speakable(text: str, *, most_chars: int = MOST_CHARS) -> Verdict:
    """Whether a cleaned text can be said: it has words, in Latin letters, and not too many."""
    letters = [char for char in text if char.isalpha()]
    if not letters and not any(char.isdigit() for char in text):
        return Verdict.reject("unspeakable", "no word in it")
    foreign = sum(not unicodedata.name(char, "").startswith("LATIN") for char in letters)
    if foreign > FOREIGN_SHARE * len(letters):
        return Verdict.reject("other_script", f"{foreign} of {len(letters)} letters")
    if len(text) > most_chars:
        return Verdict.reject("too_long_to_say", f"{len(text)} characters > {most_chars}")
    return ACCEPTED


def split_text(text: str, piece_chars: int = PIECE_CHARS) -> list[str]:
    """Cut a text into pieces that an engine says at once, at the largest border that fits (sentence, clause, word)."""
    splitter = TextSplitter(piece_chars)
    pieces: list[str] = []
    rest = text.strip()
    while rest:
        piece = splitter.chunks(rest)[0]
        # the splitter takes the border before a question mark for one between words, and would leave it a piece
        if not rest[len(piece) :][:1].strip() or " " not in piece:
            pieces.append(piece)
        else:
            pieces.append(piece.rpartition(" ")[0].rstrip())
        rest = rest[len(pieces[-1]) :].strip()
    return pieces
