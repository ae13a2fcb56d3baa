# SPDX-License-Identifier: Apache-2.0
"""The reading loop: write, rule gates, read blind, realised or written again in another way."""

import pytest

from generators.draws import NOT_REALISED
from generators.scenes import Scene, WritingSettings, Written
from generators.utterances import REWRITINGS, write_utterance
from tests.generators.scripted import Script, ScriptedReader, asked, finish, question, scripted
from validators.gates import GateBounds
from validators.readings import RealisedRule, make_reading
from validators.records import Intended, PlannedUtterance, RejectedRow
from validators.roles import Passage
from validators.taxonomy import builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
CONTEXT = "Tova did not shut the upper field in the evening, and by morning the sheep had run off."
REWRITTEN = "I should have checked it last night, Aldo."
FLAT = "I shut the upper field at nine, I think."
PLAIN = "I went to bed without looking, Aldo, and you have lost everything because of me."
CROSS = "I told you to shut it yourself, Aldo, did I not?"


def scene(
    contextual: bool = False,
    candidates: int = 3,
    rule: RealisedRule | None = RealisedRule(rank=1),  # noqa: B008 - frozen
    keep_misses_above: float | None = None,
    avoid: tuple[str, ...] = (),
) -> Scene:
    return Scene(
        plan=PlannedUtterance(
            utterance_id="u-00000-0007",
            story_id="s-0123456789ab",
            section=0,
            character="Tova",
            intended=Intended(label="remorse", intensity=2, cause="she left the gate open"),
            contextual=contextual,
            split="train",
            avoid=avoid,
            seed=41,
        ),
        section="Tova had forgotten to close the gate of the upper field, and the flock was gone.",
        language="en",
        label=TAXONOMY.label("remorse"),
        is_neutral=False,
        feelings=TAXONOMY.feelings,
        settings=WritingSettings(candidates, 0.8, GateBounds(), rule, keep_misses_above),
    )


def lines(*texts: str) -> list[Script]:
    return [{"cause": "x", "line": text} for text in texts]


def reader(**scores: dict[str, float]) -> ScriptedReader:
    """Reads PLAIN as remorse, CROSS as anger, FLAT as nothing, unless told otherwise."""
    known = {PLAIN: {"remorse": 0.9}, CROSS: {"anger": 0.8, "remorse": 0.3}, FLAT: {"remorse": 0.1}}
    return ScriptedReader(TAXONOMY.names, lambda passage: scores.get(passage.text, known.get(passage.text, {})))


def test_a_line_that_is_heard_as_intended_is_kept_at_once():
    heard = reader()
    chat = scripted(utterance=lines(PLAIN))
    written = finish(write_utterance(scene()), chat, heard)
    assert isinstance(written, Written)
    assert written.readings is not None
    assert (written.attempts, written.readings.realised, written.readings.realised_at_first) == (1, True, True)
    assert written.readings.line.score("remorse") == 0.9
    assert heard.passages == [Passage(PLAIN)]


def test_a_line_that_is_not_heard_is_written_again_and_the_writer_is_told_another_way_to_show_it():
    chat = scripted(utterance=lines(CROSS, PLAIN))
    written = finish(write_utterance(scene()), chat, reader())
    assert isinstance(written, Written)
    assert written.readings is not None
    assert (written.text, written.attempts) == (PLAIN, 2)
    assert (written.readings.realised, written.readings.realised_at_first) == (True, False)
    first, second = (question(request) for request in chat.requests)
    shared, marker, _ = first.partition(" Who feels so may")
    assert marker
    assert second.startswith(shared)  # what is in the engine's cache stays there
    assert second != first
    assert CROSS not in second  # it would be said again
    assert [request.seed for request in chat.requests] == [41, 42]


def test_a_line_that_falls_by_a_rule_is_not_read():
    heard = reader()
    finish(write_utterance(scene()), scripted(utterance=lines("I did it.", PLAIN)), heard)
    assert heard.passages == [Passage(PLAIN)]


def test_the_first_that_passed_the_rules_decides_whether_it_was_realised_at_first():
    written = finish(write_utterance(scene()), scripted(utterance=lines("I did it.", PLAIN)), reader())
    assert isinstance(written, Written)
    assert written.readings is not None
    assert written.readings.realised_at_first


def test_a_row_that_is_never_heard_is_rejected_with_its_best_line_and_what_was_heard():
    chat = scripted(utterance=lines(FLAT, CROSS, FLAT))
    row = finish(write_utterance(scene()), chat, reader())
    assert isinstance(row, RejectedRow)
    assert (row.stage, row.gate, row.reason, row.attempt) == ("line", "reader", NOT_REALISED, 2)
    assert row.reply == CROSS  # closest to remorse
    assert row.detail == "heard as anger"
    assert len(chat.requests) == 3


@pytest.mark.parametrize(("floor", "kept"), [(0.5, True), (0.7, False)])
def test_misses_above_a_floor_are_kept_as_such_if_asked_for(floor, kept):
    row = finish(write_utterance(scene(keep_misses_above=floor)), scripted(utterance=lines(CROSS)), reader())
    assert isinstance(row, Written) is kept
    if isinstance(row, Written):
        assert row.readings is not None
        assert (row.readings.realised, row.readings.realised_at_first) == (False, False)


def test_without_a_rule_nothing_is_read():
    heard = reader()
    written = finish(write_utterance(scene(rule=None)), scripted(utterance=lines(CROSS)), heard)
    assert isinstance(written, Written)
    assert written.readings is None
    assert heard.passages == []


def test_all_texts_of_a_contextual_row_are_read_alone_and_in_context():
    in_context = {"remorse": 0.8}

    def scores(passage: Passage) -> dict[str, float]:
        if passage.context:
            return in_context
        return {PLAIN: {"remorse": 0.9}, REWRITTEN: {"remorse": 0.4}}[passage.text]

    heard = ScriptedReader(TAXONOMY.names, scores)
    chat = scripted(utterance=lines(PLAIN), context={"situation": CONTEXT}, ambiguous={"line": REWRITTEN})
    written = finish(write_utterance(scene(contextual=True)), chat, heard)
    assert isinstance(written, Written)
    readings = written.readings
    assert readings is not None
    assert readings.line_in_context is not None
    assert readings.ambiguous is not None
    assert readings.ambiguous_in_context is not None
    assert readings.ambiguous.score("remorse") == 0.4
    assert readings.ambiguous_in_context.score("remorse") == readings.line_in_context.score("remorse") == 0.8
    assert set(heard.passages) == {
        Passage(PLAIN),
        Passage(REWRITTEN),
        Passage(REWRITTEN, CONTEXT),
        Passage(PLAIN, CONTEXT),
    }


def test_a_rewriting_that_is_as_certain_alone_is_written_again_and_then_given_up():
    chat = scripted(utterance=lines(PLAIN), context={"situation": CONTEXT}, ambiguous={"line": REWRITTEN})
    heard = ScriptedReader(TAXONOMY.names, lambda passage: {"remorse": 0.9})
    written = finish(write_utterance(scene(contextual=True)), chat, heard)
    assert isinstance(written, Written)
    assert (written.context, written.context_lost) == (None, f"ambiguous/{NOT_REALISED}")
    assert asked(chat) == ["utterance", "context", *["ambiguous"] * REWRITINGS]
    assert REWRITTEN in question(chat.requests[-1])


def test_for_a_reader_that_leaves_situations_out_a_rewriting_is_less_certain_than_its_line():
    chat = scripted(utterance=lines(PLAIN), context={"situation": CONTEXT}, ambiguous={"line": REWRITTEN})
    heard = ScriptedReader(TAXONOMY.names, lambda passage: {"remorse": 0.9 if passage.text == PLAIN else 0.6})
    written = finish(write_utterance(scene(contextual=True)), chat, heard)
    assert isinstance(written, Written)
    assert (written.context, written.text_ambiguous) == (CONTEXT, REWRITTEN)


def test_no_passage_says_what_was_intended():
    heard = reader()
    finish(write_utterance(scene()), scripted(utterance=lines(FLAT, CROSS, PLAIN)), heard)
    assert all("remorse" not in passage.text.lower() and passage.context is None for passage in heard.passages)


def test_worn_out_openings_stand_in_the_prompt():
    chat = scripted(utterance=lines(PLAIN))
    finish(write_utterance(scene(avoid=("I am so", "Oh no I"))), chat, reader())
    assert question(chat.requests[0]).endswith('Do not use these words: "I am so"; "Oh no I".')


LABELS = ("a", "b", "c")


@pytest.mark.parametrize(
    ("scores", "rank", "score", "holds"),
    [
        ((0.5, 0.1, 0.1), 1, 1.0, True),
        ((0.49, 0.1, 0.01), 1, 1.0, False),  # below its threshold
        ((0.49, 0.1, 0.01), 1, 0.9, True),
        ((0.6, 0.7, 0.1), 1, 1.0, False),  # another label is clearer
        ((0.6, 0.7, 0.1), 2, 1.0, True),
        ((0.6, 0.55, 0.3), 1, 1.0, False),  # c is rare: 0.3 is further above its threshold
    ],
)
def test_realised_is_rank_and_score_against_the_labels_threshold(scores, rank, score, holds):
    reading = make_reading(LABELS, scores, (0.5, 0.5, 0.1))
    assert RealisedRule(rank, score).holds(reading, "a") is holds


def test_perceived_has_the_clearest_label_first_and_leaves_out_what_says_nothing():
    reading = make_reading(LABELS, (0.6, 0.0004, 0.3), (0.5, 0.5, 0.1))
    assert [(one.label, one.score) for one in reading.perceived()] == [("c", 0.3), ("a", 0.6)]
