# SPDX-License-Identifier: Apache-2.0
"""A text of signs alone, of emoji, of 5,000 characters, of another script, without a full stop: rejected before the
engine hears of it, or said as it is; no clip is empty."""

import pytest

from generators.backends.tone import ToneVoice
from generators.speech.takes import Made
from generators.speech.voices import Samples, Speech
from tests.generators.speech.test_takes import Ear, planned, studio
from validators.records import RejectedRow

pytestmark = pytest.mark.fault

UNSPEAKABLE = {
    "signs": ("?! … —", "unspeakable"),
    "one sign": (".", "unspeakable"),
    "emoji": ("\U0001f600\U0001f44d\U0001f3fd", "unspeakable"),
    "zero width": ("\u200b\u200d\ufeff", "unspeakable"),
    "markup": ("*** ___ ``` <>", "unspeakable"),
    "5,000 characters": ("I saw the boat come in. " * 210, "too_long_to_say"),
    "one word of 5,000": ("a" * 5000, "too_long_to_say"),
    "Cyrillic": ("Я видел тебя вчера у старого моста.", "other_script"),
    "Chinese": ("我昨天在旧桥边看到了你。", "other_script"),
    "half another script": ("I said привет моя дорогая to you.", "other_script"),
}
SPEAKABLE = [
    "No full stop at the end",
    "I'm here!!!",
    "7.30",
    "Oh \U0001f600 you came back!",
    "Zoë and Łukasz, café.",
    "a" * 300,
    "I saw it. " * 60,
    "She said \u202e(so)\u202c that \x00I should wait.",
]


class Listed(ToneVoice):
    """Notes what it is asked to say."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def speak(self, speech: Speech) -> Samples:
        self.said.append(speech.text)
        return super().speak(speech)


@pytest.mark.parametrize("name", UNSPEAKABLE)
def test_what_cannot_be_said_never_reaches_the_engine(name: str) -> None:
    text, reason = UNSPEAKABLE[name]
    made = studio()
    made.voice = voice = Listed()
    row = made.make(planned(text=text))
    assert isinstance(row, RejectedRow)
    assert (row.gate, row.reason) == ("text", reason)
    assert voice.said == []


@pytest.mark.parametrize("text", SPEAKABLE)
def test_what_can_be_said_is_never_an_empty_clip(text: str) -> None:
    made = studio(Ear())
    made.voice = voice = Listed()
    clip = made.make(planned(text=text))
    assert voice.said
    assert all(any(char.isalnum() for char in said) for said in voice.said)
    assert isinstance(clip, Made | RejectedRow)
    if isinstance(clip, Made):
        assert len(clip.samples) > 2_400  # a tenth of a second
