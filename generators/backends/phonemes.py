# SPDX-License-Identifier: Apache-2.0
"""Text to the phonemes that Kokoro was trained on: English by hibari's lexicons, other languages by espeak-ng.

espeak-ng comes as a shared library inside the package `espeakng_loader` and is called as it is. It is GPL-3, so it is
not among what the English voices need, and is loaded at the first Spanish or French text.
"""

import ctypes
import json
import re
import threading
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.util import find_spec
from typing import Any

from validators.errors import ModelError

ESPEAK_INSTALL = "pip install espeakng-loader==0.2.4"
PAUSES = frozenset(';:,.!?—…"()“”')
"""The vocabulary's marks; all other tokens but the space are sounds, stress or length."""

_ESPEAK_VOICES = {"es": b"es", "fr": b"fr"}
# A dot, comma or colon between digits belongs to the number: 3,5 and 7:30.
_MARK = re.compile(r"(?<!\d)[.,:]|[.,:](?!\d)|[;!?—…\"()“”]")
_IGNORED = str.maketrans({"¿": "", "¡": "", "«": "“", "»": "”", "[": "(", "]": ")"})
_SWITCH = re.compile(r"\([a-z-]+\)")  # espeak notes where it reads a word by the rules of another language
_JOINED = {
    "a^ɪ": "I", "a^ʊ": "W", "d^z": "ʣ", "d^ʒ": "ʤ", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ",
    "t^ʃ": "ʧ", "ɔ^ɪ": "Y", "^": "", "-": "",
}  # fmt: skip
"""Pairs of phonemes for which the vocabulary has one letter, as in misaki, with which the model was trained."""

_IPA = 0x02  # of espeak's phonememode
_TIE = 0x80 | ord("^") << 8  # marks the two letters of one sound
_RETRIEVAL, _DONT_EXIT, _UTF8 = 1, 0x8000, 1
_lock = threading.Lock()  # espeak keeps its language and place in static memory


def vocabulary() -> Mapping[str, int]:
    """The number of each token; it is Kokoro's own, which hibari keeps beside its lexicons."""
    found: dict[str, int] = json.loads((resources.files("hibari") / "assets" / "vocab.json").read_text("utf-8"))
    return found


def phonemes(text: str, *, language: str, british: bool = False) -> str:
    """Spell a text in phonemes, stress and punctuation. Raises `ModelError` where espeak-ng is needed and missing."""
    if language == "en":
        # The first bracket would begin a pronunciation given in the text: [word](/ipa/).
        return str(_english(british)(text.replace("](", "] (")))
    text = text.translate(_IGNORED)
    with _lock:
        spelled, end = "", 0
        for mark in _MARK.finditer(text):
            spelled += _espeak(text[end : mark.start()], language) + mark[0]
            end = mark.end()
        spelled += _espeak(text[end:], language)
    return spelled.strip()


@cache
def _english(british: bool) -> Any:
    from hibari.g2p import G2P

    return G2P(british=british)


def _espeak(text: str, language: str) -> str:
    """Spell a stretch without marks, keeping the spaces around it."""
    words = text.strip()
    if not words:
        return " " if text else ""
    library = _espeak_library()
    if library.espeak_SetVoiceByName(_ESPEAK_VOICES[language]) != 0:
        raise ModelError(f"espeak-ng has no voice for {language!r}", next_step=ESPEAK_INSTALL)
    buffer = ctypes.create_string_buffer(words.encode())
    rest, clauses = ctypes.c_char_p(ctypes.addressof(buffer)), []
    while rest.value is not None:  # it reads one clause a call
        clause: bytes | None = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA | _TIE)
        clauses.append((clause or b"").decode())
    spelled = _SWITCH.sub("", " ".join(clauses))
    for pair, letter in _JOINED.items():
        spelled = spelled.replace(pair, letter)
    before = " " if text[0].isspace() else ""
    after = " " if text[-1].isspace() else ""
    return f"{before}{spelled.strip()}{after}"


@cache
def _espeak_library() -> ctypes.CDLL:
    if find_spec("espeakng_loader") is None:
        raise ModelError("voices that are not English need espeak-ng, which is missing", next_step=ESPEAK_INSTALL)
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    data = espeakng_loader.get_data_path()
    if library.espeak_Initialize(_RETRIEVAL, 0, data.encode(), _DONT_EXIT) < 0:
        raise ModelError("espeak-ng does not start", where=data, next_step=ESPEAK_INSTALL)
    return library
