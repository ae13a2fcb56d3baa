# SPDX-License-Identifier: Apache-2.0
"""Gates of one turn: one speaker, speech alone, nothing said before."""

import numpy as np
import pytest

from validators.gates import GateBounds
from validators.judging import judge
from validators.turn_gates import speaks_to_the_other, turn_gates

EARLIER = ("Who did this to my tree? I planted it for the little one!", "I was at work all day, Leila.")


class OneHot:
    """Embeds each text it was told about, any other on an axis of its own."""

    model = "one-hot"

    def __init__(self, **same):
        self._same = same

    def encode(self, texts):
        axes = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        rows = np.zeros((len(texts), len(texts) + 1), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row, axes[self._same.get("of", text) if text == self._same.get("text") else text]] = 1
        return rows


def reason(text, *, is_last=False, synonyms=("anger", "angry"), encoder=None):
    gates = turn_gates(
        speaker="Leila",
        other="Bruno",
        earlier=EARLIER,
        is_last=is_last,
        source="Leila stands at the fence where Bruno is watering his beans this evening.",
        synonyms=synonyms,
        language="en",
        prompt="Tomorrow nobody will sit in your chair, and I won't know what to do.",
        strangers=("ida",),
        bounds=GateBounds(min_words=3, max_words=25),
        encoder=encoder or OneHot(),
        similarity=0.85,
    )
    return judge(text, gates).reason


@pytest.mark.parametrize(
    "text",
    [
        "Then who was it, Bruno? Somebody stood right here with a saw.",
        "It was the city. They sent a letter in May.",
        "Bruno, look at me.",
        "Oh Bruno, look at me, my dear Bruno!",
        "Thank you Bruno. You are a good man, Bruno, and you know it.",
    ],
)
def test_a_line_that_answers_passes(text):
    assert reason(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Leila: It was you, I know it.", "speaker_label"),
        ("It was you. Bruno: No, it was not me!", "speaks_for_both"),
        ("bruno: I never touched it, I swear.", "speaks_for_both"),
        ("*slams the gate* Do not lie to me again.", "narration"),
        ("Do not lie to me (she turns away).", "narration"),
        ('"Do not lie to me," she said and turned away.', "narration"),
        ("Leila does not believe a word of that.", "names_its_speaker"),
        ("I was at work all day.", "repeats_a_turn"),
        ("You planted it for the little one, and I planted it for the little one who needed shade.", "repeats_a_turn"),
        ("I know that Bruno cut it down last night.", "speaks_of_the_other"),
        ("Bruno's saw stood right here, I saw it.", "speaks_of_the_other"),
        ("Bruno has been here with a saw.", "speaks_of_the_other"),
        ("You make me so angry with this, Bruno.", "names_its_label"),
        ("Oh no!", "too_short"),
        ("I will never, ever, in my whole life, and I mean every word of it, forgive you or anybody else here for what "
         "happened to that little tree.", "too_long"),
        ("Tomorrow nobody will sit in your chair, Bruno.", "prompt_residue"),
        ("Ask Ida, she saw it too.", "prompt_residue"),
        ("As an AI language model I have no tree.", "refusal_or_model_talk"),
        ("I cannot assist with that request.", "refusal_or_model_talk"),
        ("And then I went over to the", "truncated"),
    ],
)  # fmt: skip
def test_what_is_no_turn_is_rejected(text, expected):
    assert reason(text) == expected


@pytest.mark.parametrize(
    ("text", "other", "accepted"),
    [
        ("The old man has been watching the sparrows for a long time now.", "the old man", False),
        ("I saw what the old man did to the sparrows.", "the old man", False),
        ("Thank you, old man. I will not forget it.", "the old man", True),
        ("What do you want from me, old man?", "the old man", True),
        ("I know that you did it, Mrs Hall!", "Mrs Hall", True),
        ("The king is good, and I am his.", "the king", False),
        ("I am yours, my king.", "the king", True),
    ],
)
def test_whoever_is_spoken_to_is_called_and_not_told_of(text, other, accepted):
    assert speaks_to_the_other(text, other=other).accepted is accepted


def test_a_paraphrase_is_rejected_by_its_embedding():
    text = "Somebody has cut what I put into the ground for her."
    assert reason(text, encoder=OneHot(text=text, of=EARLIER[0])) == "paraphrases_a_turn"
    assert reason(text) is None


def test_only_the_last_turn_may_not_leave_a_question_open():
    assert reason("Was it you, Bruno?") is None
    assert reason("Was it you, Bruno?", is_last=True) == "ends_open"
