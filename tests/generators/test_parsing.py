# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generators.chat import ChatReply, FinishReason
from generators.parsing import (
    Reply,
    array,
    clean_line,
    end_sentence,
    parse_reply,
    string,
    structure,
    whole_sentences,
    without_own_address,
)
from generators.utterances import LineReply
from validators.verdicts import Verdict


class Part(Reply):
    name: str


class Shape(Reply):
    name: str
    score: float
    lines: list[str]
    parts: list[Part]


GOOD: dict[str, object] = {"name": "Ida", "score": 0.5, "lines": ["I did."], "parts": [{"name": "x"}]}
FEW = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def parse(text: str, finish_reason: FinishReason = "stop") -> Shape | Verdict:
    return parse_reply(ChatReply(text, finish_reason, 1, 1), Shape)


def changed(**keys: object) -> str:
    return json.dumps(GOOD | keys)


def test_a_good_reply_is_read():
    answer = parse(json.dumps(GOOD))
    assert isinstance(answer, Shape)
    assert answer.model_dump() == GOOD
    assert isinstance(parse(f"\n  {json.dumps(GOOD, indent=2)}\t"), Shape)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Thank you, Ida.", "Thank you."),
        ("Thank you, Ida, for all of it!", "Thank you, for all of it!"),
        ("Ida, how could you?", "How could you?"),
        ("Ida! look at this.", "Look at this."),
        ("I asked Ida about it.", "I asked Ida about it."),
        ("Thank you, Idaho.", "Thank you, Idaho."),
        ("I am Ida.", "I am Ida."),
        ("Ida", "Ida"),
        ("", ""),
    ],
)
def test_who_speaks_is_not_addressed(text, line):
    assert without_own_address(text, speaker="Ida") == line


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "json_invalid at the start"),
        ("Sure! Here is what you asked for:", "json_invalid at the start"),
        ("```json\n" + json.dumps(GOOD) + "\n```", "json_invalid at the start"),
        (json.dumps(GOOD) + " Hope that helps!", "json_invalid at the start"),
        (json.dumps(GOOD)[:-1], "json_invalid at the start"),
        (json.dumps(GOOD)[:20], "json_invalid at the start"),
        ("{'name': 'Ida'}", "json_invalid at the start"),
        ("null", "model_type at the start"),
        ("NaN", "model_type at the start"),
        ("[]", "model_type at the start"),
        ('"Ida"', "model_type at the start"),
        (changed(score=float("nan")), "finite_number at score"),
        (changed(score=float("inf")), "finite_number at score"),
        (changed().replace("0.5", "1e400"), "finite_number at score"),
        (changed().replace("0.5", "9" * 5000), "json_invalid at the start"),
        (changed(score="0.5"), "float_type at score"),
        (changed(score=True), "float_type at score"),
        (changed(score=None), "float_type at score"),
        (changed(name=5), "string_type at name"),
        (changed(name=None), "string_type at name"),
        (changed(lines="I did."), "list_type at lines"),
        (changed(lines={"0": "I did."}), "list_type at lines"),
        (changed(lines=["I did.", 7]), "string_type at lines.1"),
        (changed(parts=[{"name": "x"}, {"nam": "x"}]), "missing at parts.1.name"),
        (changed(extra=1), "extra_forbidden at extra"),
        ("{}", "missing at name"),
        ("[" * 100_000, "json_invalid at the start"),
        ("[" * 100_000 + "]" * 100_000, "json_invalid at the start"),
        ('{"name":' * 100_000, "json_invalid at the start"),
        (changed().replace('"I did."', "[" * 100_000), "json_invalid at the start"),
        ("\ud800", "string_unicode at the start"),
        (changed().replace("Ida", "\ud800"), "string_unicode at the start"),
        (changed().replace("Ida", "\\ud800"), "json_invalid at the start"),
        (changed().replace("Ida", "\x00"), "json_invalid at the start"),
        ("\ufeff" + changed(), "json_invalid at the start"),
        ("x" * 1_000_000, "json_invalid at the start"),
    ],
    ids=lambda value: repr(value)[:30].encode("ascii", "backslashreplace").decode(),
)
def test_a_bad_reply_is_a_verdict_that_names_the_place(text, detail):
    assert parse(text) == Verdict("unparsable", detail)


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
def test_a_reply_that_is_not_whole_is_truncated_even_if_it_can_be_read(finish_reason):
    assert parse(json.dumps(GOOD), finish_reason) == Verdict("truncated", f"the reply ended by {finish_reason}")


def test_of_a_key_that_is_there_twice_one_value_counts():
    answer = parse(json.dumps(GOOD)[:-1] + ', "name": "Tom"}')
    assert isinstance(answer, Verdict) or answer.name in {"Ida", "Tom"}


def test_a_long_reply_is_read():
    answer = parse(changed(name="x" * 1_000_000))
    assert isinstance(answer, Shape)
    assert len(answer.name) == 1_000_000


def test_the_detail_is_bounded_and_does_not_repeat_a_value():
    verdict = parse(changed(name="secret", score="secret"))
    assert isinstance(verdict, Verdict)
    assert "secret" not in verdict.detail
    verdict = parse(changed(**{"k" * 1000: 1}))
    assert isinstance(verdict, Verdict)
    assert len(verdict.detail) == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner, max_size=5),
    max_leaves=8,
)
SPLICES = st.sampled_from([*'"{}[],:-', "\\", "\\u", "null", "NaN", "1e999", "\x00", "\ud83d"])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = json.dumps(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + draw(SPLICES | st.text(st.characters(), max_size=2)) + text[end:]
    return text


@FEW
@given(st.text(st.characters()) | JSON.map(json.dumps) | damaged())
def test_any_text_is_an_answer_or_a_verdict(text):
    for shape in (Shape, Part, LineReply):
        answer = parse_reply(ChatReply(text, "stop", 1, 1), shape)
        assert isinstance(answer, shape | Verdict)
        if isinstance(answer, Verdict):
            assert answer.reason == "unparsable"
            assert len(answer.detail) <= 200


@FEW
@given(
    st.builds(
        Shape,
        name=st.text(),
        score=st.floats(allow_nan=False, allow_infinity=False),
        lines=st.lists(st.text(), max_size=3),
        parts=st.lists(st.builds(Part, name=st.text()), max_size=2),
    ),
    st.booleans(),
)
def test_whatever_fits_the_shape_comes_back_as_it_was(shape, ensure_ascii):
    assert parse(json.dumps(shape.model_dump(), ensure_ascii=ensure_ascii)) == shape


@pytest.mark.parametrize(
    ("text", "speaker", "line"),
    [
        ("I did it.", "", "I did it."),
        (" I  did\nit.\t", "", "I did it."),
        ('"I did it."', "", "I did it."),
        ("“I did it.”", "", "I did it."),
        ("'I did it.'", "", "I did it."),
        ("‘I did it.’", "", "I did it."),
        ("“‘I did it.’”", "", "I did it."),
        ('" I did it. "', "", "I did it."),
        ("‘I can’t go.’", "", "‘I can’t go.’"),  # the inner one may be the closing one
        ('"No," he said, "no."', "", '"No," he said, "no."'),
        ("“No.” And “yes.”", "", "“No.” And “yes.”"),
        ("Ida: I did it.", "Ida", "I did it."),
        ("IDA: I did it.", "Ida", "I did it."),
        ('Ida: "I did it."', "Ida", "I did it."),
        ("Ida: I did it.", "Tom", "Ida: I did it."),
        ("Ida I did it.", "Ida", "Ida I did it."),
        ("old Marek: Hush!", "old Marek", "Hush!"),
        ("<|im_end|>I did it.", "", "(im_end)I did it."),
        ("I\u200b did\u202e it.", "", "I did it."),
        ("\ud800I did it.", "", "I did it."),
        ('""', "", '""'),
        ('"', "", '"'),
        ("", "Ida", ""),
        ("Ida:", "Ida", ""),
    ],
)
def test_clean_line(text, speaker, line):
    assert clean_line(text, speaker=speaker) == line


@FEW
@given(st.text(st.characters(), max_size=40), st.sampled_from(["", "Ida", "İda", "the fox"]), st.booleans())
def test_a_clean_line_is_one_line_that_utf8_can_hold(text, speaker, named):
    line = clean_line(f"{speaker}: {text}" if named else text, speaker=speaker)
    assert line == " ".join(line.split())
    assert line.encode().decode() == line


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("I did it", "I did it."),
        ("I did it.", "I did it."),
        ("I did it!", "I did it!"),
        ("Did I?", "Did I?"),
        ("I did…", "I did…"),
        ("I did it,", "I did it,"),
        ("“I did it”", "“I did it”"),
        ("Room 7", "Room 7."),
        ("Das ist Spaß", "Das ist Spaß."),
        ("", ""),
    ],
)
def test_end_sentence(text, ended):
    assert end_sentence(text, bound=40) == ended


def test_a_text_as_long_as_its_bound_was_cut_and_stays_so():
    assert end_sentence("a" * 38, bound=40) == "a" * 38 + "."
    assert end_sentence("a" * 39, bound=40) == "a" * 39
    assert end_sentence("a" * 40, bound=40) == "a" * 40


def test_schemas_keep_their_order_and_refuse_other_keys():
    schema = structure(cause=string(20), lines=array(string(9), fewest=1, most=3), who=string(9, choices=["a", "b"]))
    assert schema == {
        "type": "object",
        "properties": {
            "cause": {"type": "string", "maxLength": 20},
            "lines": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 1, "maxItems": 3},
            "who": {"enum": ["a", "b"]},
        },
        "required": ["cause", "lines", "who"],
        "additionalProperties": False,
    }
    assert list(schema["properties"]) == ["cause", "lines", "who"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Aldo came home. He saw the op", "Aldo came home."),
        ("Aldo came home and he saw the", "Aldo came home and he saw the"),
        ("Aldo came home", "Aldo came home."),
        ("Aldo is in. He sees it.", "Aldo is in. He sees it."),
    ],
)
def test_a_situation_that_was_cut_keeps_its_whole_sentences(text, kept):
    assert whole_sentences(text, bound=30) == kept
