# SPDX-License-Identifier: Apache-2.0
"""A dialogue is written turn by turn: premise, inner state and line, read blind, judged."""

import re
from typing import Any, Literal

import pytest

from generators.backends.echo import ScriptedChat
from generators.backends.hashed import open_encoder
from generators.chat import ChatReply
from generators.dialogues.judging import probability_of_yes
from generators.dialogues.scenes import DialogueScene, DialogueSettings, WrittenDialogue
from generators.dialogues.writing import write_dialogue
from generators.encoder import EncoderSettings
from tests.generators.scripted import CUT, ScriptedReader, asked, finish, question, scripted
from validators.dialogue_records import PlannedDialogue, PlannedTurn
from validators.gates import GateBounds
from validators.readings import RealisedRule
from validators.records import Intended, RejectedRow, Utterance
from validators.taxonomy import builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
FEELINGS = ("anger", "confusion", "anger", "remorse")
LINES = (
    "Who cut this down? I planted it for the little one!",
    "Wait, what happened? I only came home a minute ago.",
    "Do not play innocent, you have wanted it gone for years!",
    "It was my letter that brought them here. I would undo it if I could.",
)
PREMISE: Any = {
    "situation": "Leila found her young pear tree felled this morning and has waited for Bruno since.",
    "first": "a retired teacher",
    "second": "a bus driver",
    "relation": "neighbours",
    "goal": "the name of whoever did it",
    "events": ["somebody took a saw to it", "he has just come home", "he once wrote to the council about its roots"],
}


def dialogue(**settings):
    speakers: tuple[Literal[0, 1], ...] = (0, 1, 0, 1)
    opening = settings.pop("opening", None)
    plan = PlannedDialogue(
        dialogue_id="d-00000-0003",
        domain=None if opening else "gardening",
        story_id="s-0123456789ab" if opening else None,
        utterance_id="u-00000-0001" if opening else None,
        names=("Leila", "Bruno"),
        writers=("writer", "second"),
        baselines=("joy", "anger"),
        trajectory=tuple(
            PlannedTurn(speaker=speaker, label=label, intensity=2, reason="start")
            for speaker, label in zip(speakers, FEELINGS, strict=True)
        ),
        split="train",
        seed=5,
    )
    given: dict[str, Any] = {"candidates": 2, "rule": RealisedRule(rank=1), "adherence": 0.5, "judge": None} | settings
    return DialogueScene(
        plan=plan,
        topic="A neighbour's tree, seeds that come up at last.",
        language="en",
        labels={label: TAXONOMY.label(label) for label in FEELINGS},
        neutral="neutral",
        settings=DialogueSettings(
            temperature=0.8,
            bounds=GateBounds(min_words=3, max_words=25),
            encoder=open_encoder(EncoderSettings("hashed")),
            similarity=0.99,
            history_turns=8,
            **given,
        ),
        opening=opening,
    )


def turns(*lines):
    return [{"thinks": f"thought {n}", "says": line} for n, line in enumerate(lines)]


def hears(scores=None):
    known = {line: {label: 0.9} for line, label in zip(LINES, FEELINGS, strict=True)}
    return ScriptedReader(TAXONOMY.names, lambda passage: (known | (scores or {})).get(passage.text, {}))


def talk(conversation: Any, chat: ScriptedChat, reader: ScriptedReader) -> Any:
    """Run a dialogue to its end, whatever kind of end it is."""
    return finish(conversation, chat, reader)


def test_a_dialogue_has_its_turns_as_planned():
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*LINES))
    reader = hears()
    ended = talk(write_dialogue(dialogue()), chat, reader)
    assert isinstance(ended.row, WrittenDialogue)
    assert [(turn.speaker, turn.text, turn.intended.label) for turn in ended.row.turns] == [
        (n % 2, line, label) for n, (line, label) in enumerate(zip(LINES, FEELINGS, strict=True))
    ]
    assert [turn.inner_state for turn in ended.row.turns] == ["thought 0", "thought 1", "thought 2", "thought 3"]
    assert all(turn.realised and turn.realised_at_first and turn.attempts == 1 for turn in ended.row.turns)
    # each turn is read alone, and again after those before it
    assert [passage.context is not None for passage in reader.passages] == [False, False, *(False, True) * 3]


def test_each_speaker_has_their_own_writer_and_sees_what_was_said():
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*LINES))
    talk(write_dialogue(dialogue()), chat, hears())
    assert [request.writer for request in chat.requests] == ["writer", "writer", "second", "writer", "second"]
    last = question(chat.requests[-1])
    assert f"Leila: {LINES[0]}\nBruno: {LINES[1]}\nLeila: {LINES[2]}" in last
    assert "You are Bruno, a bus driver" in last
    assert f'Leila has just said: "{LINES[2]}" You feel remorse' in last
    assert "because he once wrote to the council" in last
    assert "last line" in last
    assert "last line" not in question(chat.requests[-2])


def test_the_event_behind_a_feeling_holds_while_it_lasts():
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*LINES))
    ended = talk(write_dialogue(dialogue()), chat, hears())
    assert [turn.intended.cause for turn in ended.row.turns] == [
        PREMISE["events"][0], PREMISE["events"][1], PREMISE["events"][0], PREMISE["events"][2]
    ]  # fmt: skip
    assert "3. why Bruno then feels remorse" in question(chat.requests[0])


def test_a_turn_that_is_not_heard_is_written_again_and_told_another_way_to_show_it():
    flat = "There is sawdust all over the place here."
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(flat, *LINES))
    ended = talk(write_dialogue(dialogue()), chat, hears({flat: {"sadness": 0.9}}))
    assert ended.row.turns[0].attempts == 2
    assert ended.row.turns[0].realised
    assert ended.row.turns[0].realised_at_first is False
    first, second = question(chat.requests[1]), question(chat.requests[2])
    assert _way(first) != _way(second)
    assert first.replace(_way(first), _way(second)) == second  # nothing of the miss: it would be said again


def _way(asked: str) -> str:
    way: str
    (way,) = re.findall(r"Who feels so may [^?]*\. What", asked)
    return way


def test_a_turn_that_says_what_its_writer_was_told_is_written_again():
    broken, echo = "Bruno has come home and knows nothing of it.", "I am speaking to them, you say."
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(broken, echo, *LINES))
    ended = talk(write_dialogue(dialogue(candidates=3)), chat, hears())
    assert (ended.row.turns[0].text, ended.row.turns[0].attempts) == (LINES[0], 3)


def test_the_same_words_are_a_line_where_nothing_was_told():
    line = "I am speaking to them, you say."
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(line, *LINES[1:]))
    assert talk(write_dialogue(dialogue()), chat, hears({line: {"anger": 0.9}})).turns[0].text == line


def test_a_turn_that_broke_a_rule_is_written_again_and_told_why():
    told = "Bruno has come home and knows nothing of it."
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(told, *LINES))
    ended = talk(write_dialogue(dialogue()), chat, hears())
    assert ended.row.turns[0].text == LINES[0]
    assert "But you are speaking to them. Say you." in question(chat.requests[2])
    assert told not in question(chat.requests[2])
    assert "But you are speaking" not in question(chat.requests[3])


def test_a_dialogue_that_misses_too_many_turns_ends_early_and_says_so():
    lines = [f"{what} can wait until tomorrow." for what in ("One", "Two", "Three", "Four")]
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*lines))
    ended = talk(write_dialogue(dialogue(adherence=0.75)), chat, hears())
    assert isinstance(ended.row, RejectedRow)
    assert (ended.row.stage, ended.row.gate, ended.row.reason) == ("turn_1", "reader", "not_realised")
    assert ended.row.planned_id == "d-00000-0003"
    assert ended.row.reply.count("\n") == 1  # both lines that were paid for
    assert len(asked(chat)) == 1 + 4


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"thinks": "x", "says": "Leave me. Leila: I will not leave you alone!"}, "speaks_for_both"),
        (CUT, "truncated"),
        ({"thinks": "x", "says": "I'm sorry, I cannot assist with that."}, "refusal_or_model_talk"),
        ("I will not, 'and", "unparsable"),
    ],
)
def test_a_writer_that_does_not_play_its_part_ends_the_dialogue(reply, reason):
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=[*turns(LINES[0]), reply])
    ended = talk(write_dialogue(dialogue()), chat, hears())
    assert isinstance(ended.row, RejectedRow)
    assert (ended.row.stage, ended.row.reason) == ("turn_1", reason)
    assert ended.row.reply.startswith(f"Leila: {LINES[0]}")


def test_a_dialogue_can_grow_from_an_utterance_that_is_its_first_turn():
    read: dict[str, Any] = {"perceived": None, "realised": True, "realised_at_first": True, "attempts": 2}
    intended = Intended(label="anger", intensity=2, cause="her tree was cut")
    utterance = Utterance.model_construct(None, text=LINES[0], intended=intended, **read)
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*LINES[1:]))
    ended = talk(write_dialogue(dialogue(opening=utterance)), chat, hears())
    assert ended.row.turns[0].text == LINES[0]
    assert ended.row.turns[0].intended.cause == "her tree was cut"
    assert len(asked(chat)) == 4


def test_the_judge_answers_by_the_probability_of_yes():
    answers: Any = [ChatReply(word, "stop", 10, 1, ((word, -0.1), (other, -2.4))) for word, other in
               (("yes", "no"), ("no", "yes"), ("no", "yes"))]  # fmt: skip
    chat = scripted(dialogue_seed=PREMISE, dialogue_turn=turns(*LINES), dialogue_judge=answers)
    ended = talk(write_dialogue(dialogue(judge="second", judged=0.5)), chat, hears())
    assert isinstance(ended.row, RejectedRow)
    assert (ended.row.gate, ended.row.reason) == ("judge", "incoherent")
    assert ended.passed_rules
    assert ended.judged.relevance > 0.9
    assert ended.judged.reasons < 0.1
    assert [request.writer for request in chat.requests[-3:]] == ["second"] * 3
    # the dialogue stands before the question, so that it is read once
    shared = [question(request).split("\nDo")[0].split("\nIs")[0] for request in chat.requests[-3:]]
    assert all(LINES[3] in one for one in shared)


def test_probability_of_yes():
    assert probability_of_yes((("Yes", -0.7), (" yes", -1.4), ("no", -50.0))) == pytest.approx(1.0)
    assert probability_of_yes((("maybe", -0.1),)) == 0.5


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"first": "Bruno is a retired teacher"}, "wrong_persona"),
        ({"second": "Bruno"}, "wrong_persona"),
        ({"relation": "neighbours for ten years"}, "prompt_residue"),  # of the examples
    ],
)
def test_a_premise_whose_personas_are_not_theirs_is_written_again(changed, reason):
    chat = scripted(dialogue_seed=[PREMISE | changed, PREMISE], dialogue_turn=turns(*LINES))
    ended = talk(write_dialogue(dialogue()), chat, hears())
    assert ended.row.premise.personas == (PREMISE["first"], PREMISE["second"])
    chat = scripted(dialogue_seed=PREMISE | changed, dialogue_turn=turns(*LINES))
    assert talk(write_dialogue(dialogue()), chat, hears()).row.reason == reason


def test_a_persona_follows_its_name():
    chat = scripted(dialogue_seed=PREMISE | {"first": "Leila is a retired teacher."}, dialogue_turn=turns(*LINES))
    assert talk(write_dialogue(dialogue()), chat, hears()).row.premise.personas[0] == "a retired teacher"
