# SPDX-License-Identifier: Apache-2.0
"""The best of several takes is kept, and what cannot be said or heard costs one row and says why."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from generators.backends.quiet import QuietListener
from generators.backends.tone import ToneVoice
from generators.speech.delivery import builtin_map
from generators.speech.takes import Made, Studio, TakeSettings
from validators.clip_gates import ClipBounds
from validators.records import Intended, RejectedRow
from validators.roles import Heard
from validators.speech_records import Delivery, PlannedClip
from validators.taxonomy import builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
TEXT = "Somebody has cut down the old pear tree behind our house."
# the double hears no words and knows no speakers
EASY = ClipBounds(max_wer=1.0, min_dnsmos=0.0, min_speaker_similarity=-1.0)


class Ear(QuietListener):
    """Hears the text as it is, and counts; a test changes what it hears."""

    def __init__(self, change=lambda number, heard: heard):
        super().__init__()
        self.count = 0
        self._change = change

    def listen(self, sound):
        heard = replace(super().listen(sound), transcript=TEXT, dnsmos=4.0)
        # the first thing a voice says is who it is
        self.count += 1
        return self._change(self.count - 1, heard)


def planned(label="anger", intensity: Any = 2, text=TEXT, **changes):
    fields = {
        "clip_id": "c-00000-0007",
        "utterance_id": "u-00000-0001",
        "dialogue_id": None,
        "turn": None,
        "story_id": "s-0123456789ab",
        "speaker": "Ida",
        "text": text,
        "language": "en",
        "intended": Intended(label=label, intensity=intensity, cause=""),
        "voice": "tone_low",
        "rendering": 0,
        "split": "train",
        "seed": 11,
    }
    return PlannedClip(**(fields | changes))


def studio(ear=None, **changes):
    settings: dict[str, Any] = {"takes": 3, "bounds": EASY} | changes
    return Studio(
        voice=ToneVoice(),
        listener=ear or Ear(),
        map=builtin_map(),
        labels={label.name: label for label in TAXONOMY.labels},
        settings=TakeSettings(**settings),
    )


def test_a_near_first_take_ends_the_search():
    ear = Ear()
    made = studio(ear, near=100.0).make(planned())
    assert isinstance(made, Made)
    assert (made.attempts, made.passed_at_first) == (1, True)
    assert made.controls == made.delivery == builtin_map().deliver(TAXONOMY.label("anger"), 2)
    assert ear.count == 2  # the voice's own sentence, and the take


def test_of_several_takes_the_nearest_to_what_was_asked_is_kept():
    distances = []
    for takes in (1, 2, 3):
        made = studio(near=0.0, takes=takes).make(planned())
        assert made.attempts == takes
        distances.append(made.distance)
    assert distances == sorted(distances, reverse=True)


def test_the_sound_follows_the_label_and_its_intensity():
    make = studio(near=100.0).make
    neutral, mild, strong = (make(planned(*asked)) for asked in (("neutral", None), ("anger", 1), ("anger", 2)))
    assert neutral.delivery == Delivery()
    assert neutral.measured == neutral.neutral
    assert neutral.measured.f0_mean_hz < mild.measured.f0_mean_hz < strong.measured.f0_mean_hz
    assert neutral.measured.loudness_db < mild.measured.loudness_db < strong.measured.loudness_db
    assert len(neutral.samples) > len(mild.samples) > len(strong.samples)


def test_a_take_that_fails_a_gate_is_made_again():
    def muffled_at_first(number, heard):
        return replace(heard, dnsmos=1.0) if number == 1 else heard

    made = studio(Ear(muffled_at_first), near=100.0, bounds=replace(EASY, min_dnsmos=3.0)).make(planned())
    assert isinstance(made, Made)
    assert (made.attempts, made.passed_at_first) == (2, False)
    assert made.controls != made.delivery


def test_where_no_take_passes_the_row_says_what_was_heard():
    def mishears(number, heard):
        return replace(heard, transcript="something else entirely was said here")

    row = studio(Ear(mishears), bounds=ClipBounds(min_dnsmos=0, min_speaker_similarity=-1)).make(planned())
    assert isinstance(row, RejectedRow)
    assert (row.planned_id, row.stage, row.gate, row.reason, row.attempt) == (
        "c-00000-0007", "speech", "listener", "word_error", 3
    )  # fmt: skip
    assert row.reply == TEXT


def test_another_speaker_than_the_voice_itself_is_rejected():
    def somebody_else(number, heard: Heard):
        return heard if number == 0 else replace(heard, speaker=-heard.speaker)

    row = studio(Ear(somebody_else), bounds=replace(EASY, min_speaker_similarity=0.8)).make(planned())
    assert isinstance(row, RejectedRow)
    assert row.reason == "other_speaker"


@pytest.mark.parametrize(
    ("text", "gate", "reason"),
    [
        ("...?!", "text", "unspeakable"),
        ("Привет, как дела сегодня?", "text", "other_script"),
        ("A word. " * 700, "text", "too_long_to_say"),
        ("Я am here with you now, and I will stay for as long as it takes.", "voice", "unspeakable"),
    ],
)
def test_what_cannot_be_said_costs_its_row_alone(text, gate, reason):
    row = studio().make(planned(text=text))
    assert isinstance(row, RejectedRow)
    assert (row.gate, row.reason) == (gate, reason)


def test_a_long_text_is_said_in_pieces():
    text = "The bees are dead, all of them, and it is my doing. " * 8
    made = studio(near=100.0, bounds=replace(EASY, max_word_s=3.0)).make(planned(text=text))
    assert isinstance(made, Made)
    assert len(made.samples) > 15 * 24_000
    assert np.abs(made.samples).max() <= 1
