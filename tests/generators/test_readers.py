# SPDX-License-Identifier: Apache-2.0
"""What every blind reader owes its caller, and what is particular to each."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.weights import WeightsSpec, resolve_weights
from generators.backends.echo import ScriptedChat, reply_to
from generators.backends.hashed import HashedEncoder
from generators.backends.registry import open_encoder
from generators.chat import MAX_TOP_LOGPROBS, ChatReply, ChatRequest, TokenLogprobs
from generators.encoder import EncoderSettings
from generators.prompts import PROMPTS, READING_PROMPTS, fence, load_prompt
from generators.readers.chat import NONE, ChatReader, answer_logprobs
from generators.readers.descriptions import DescriptionsReader, describe
from generators.readers.echo import EchoReader
from generators.readers.ensemble import Blend, EnsembleReader
from generators.readers.everyday import CONTENT_FREE, EVERYDAY
from validators.errors import DeferredError, InputError, ModelError
from validators.roles import Passage, Reader
from validators.taxonomy import Taxonomy, builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
PASSAGES = [
    Passage("Thank you so much, I owe you everything."),
    Passage("The bus leaves at ten."),
    Passage("So that was it.", "Ida has just heard that her dog died."),
    Passage(""),
    Passage("é日本 \U0001f600"),
]


def echo_chat() -> ScriptedChat:
    return ScriptedChat(reply_to, model="m@1")


def answering(first_token: Callable[[ChatRequest], TokenLogprobs]) -> ScriptedChat:
    return ScriptedChat(lambda request: ChatReply("x", "length", 9, 1, first_token(request)), model="m@1")


MAKERS: dict[str, Callable[[Taxonomy], Reader]] = {
    "descriptions": lambda taxonomy: DescriptionsReader(HashedEncoder(), taxonomy),
    "chat": lambda taxonomy: ChatReader(echo_chat(), taxonomy),
    "ensemble": lambda taxonomy: EnsembleReader(
        [DescriptionsReader(HashedEncoder(), taxonomy), ChatReader(echo_chat(), taxonomy), EchoReader(taxonomy.names)]
    ),
}


@pytest.fixture(params=MAKERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return MAKERS[request.param](TAXONOMY)


@pytest.mark.parametrize("name", ["goemotions", "emonet", "deepdialogue", "canonical"])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_reader_scores_every_label_of_any_taxonomy(kind: str, name: str) -> None:
    taxonomy = builtin_taxonomy(name)
    reader = MAKERS[kind](taxonomy)
    scores = reader.read(PASSAGES)
    assert reader.labels == taxonomy.names
    assert scores.shape == (len(PASSAGES), len(taxonomy.names))
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert reader.thresholds.shape == (len(taxonomy.names),)
    assert ((reader.thresholds > 0) & (reader.thresholds < 1)).all()
    reader.close()


def test_no_passages_give_no_rows(reader: Reader) -> None:
    assert reader.read([]).shape == (0, len(TAXONOMY.names))


def test_texts_differ_in_what_is_found(reader: Reader) -> None:
    scores = reader.read(PASSAGES)
    assert len({tuple(row) for row in scores.round(6)}) > 1


@pytest.mark.parametrize("kind", MAKERS)
def test_the_context_counts_for_all_but_descriptions_which_know_no_difference(kind: str) -> None:
    reader = MAKERS[kind](TAXONOMY)
    alone, after = reader.read([Passage("So be it."), Passage("So be it.", "Ida has just heard that her dog died.")])
    assert (np.abs(alone - after).max() > 1e-6) == (kind != "descriptions")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=60), st.none() | st.text(max_size=60)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from(sorted(MAKERS)),
)
def test_scores_are_finite_and_the_order_of_passages_plays_no_part(texts, random, kind) -> None:
    passages = [Passage(text, context) for text, context in texts]
    order = list(range(len(passages)))
    random.shuffle(order)
    reader = MAKERS[kind](TAXONOMY)
    scores = reader.read(passages)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(reader.read([passages[index] for index in order]), scores[order], atol=1e-6)


def test_the_model_names_what_scores_hang_on() -> None:
    encoder, chat = HashedEncoder(), echo_chat()
    first = DescriptionsReader(encoder, TAXONOMY)
    others = [
        DescriptionsReader(encoder, builtin_taxonomy("emonet")),
        DescriptionsReader(encoder, TAXONOMY, temperature=2.0),
        DescriptionsReader(encoder, TAXONOMY, background=EVERYDAY[:9]),
        DescriptionsReader(HashedEncoder("other"), TAXONOMY),
    ]
    assert len({reader.model for reader in (first, *others)}) == 5
    assert first.model == DescriptionsReader(encoder, TAXONOMY).model
    reader = ChatReader(chat, TAXONOMY)
    apart = [ChatReader(chat, builtin_taxonomy("emonet")), ChatReader(chat, TAXONOMY, temperature=1.0)]
    assert len({one.model for one in (reader, *apart)}) == 3
    assert reader.model.startswith("chat:m@1#")
    both = EnsembleReader([first, reader])
    assert first.model in both.model
    assert reader.model in both.model
    tilted = EnsembleReader([first, reader], Blend((0.2, 0.8), np.zeros(28)))
    assert tilted.model != both.model


# Blindness


def test_a_passage_has_a_text_and_a_context_and_nothing_else() -> None:
    assert [field.name for field in fields(Passage)] == ["text", "context"]


def test_the_chat_is_told_nothing_but_text_context_and_the_list_of_labels() -> None:
    chat = echo_chat()
    ChatReader(chat, TAXONOMY).read([Passage("I did this, Marek.", "The bees died."), Passage("Oh.")])
    asked = {request.messages[-1].content: request for request in chat.requests}
    template = load_prompt("read").template
    answers = ", ".join((*TAXONOMY.names, NONE))
    assert set(asked) == {
        template.substitute(answers=answers, passage=fence(line))
        for line in ("Situation: The bees died.\n\nI did this, Marek.", "Oh.", *CONTENT_FREE)
    }
    assert {request.messages[:-1] for request in chat.requests} == {load_prompt("read").constant}
    assert {(request.top_logprobs, request.max_tokens, request.schema) for request in chat.requests} == {
        (MAX_TOP_LOGPROBS, 1, None)
    }


def test_all_before_the_text_is_the_same_so_that_the_prefix_cache_serves_it() -> None:
    template = load_prompt("read").template.template
    assert template.index("$answers") < template.index("$passage")


def test_reading_prompts_are_no_part_of_the_hash_that_rows_record_of_their_writing() -> None:
    assert not set(READING_PROMPTS) & set(PROMPTS)


# Chat


def test_what_the_model_says_of_everything_counts_for_nothing() -> None:
    def first_token(request: ChatRequest) -> TokenLogprobs:
        always = [("disgust", 0.6), ("joy", 0.2)]
        if "owe you" in request.messages[-1].content:
            always = [("disgust", 0.6), ("joy", 0.2), ("grat", 0.15)]
        return tuple((token, math.log(mass)) for token, mass in always)

    reader = ChatReader(answering(first_token), TAXONOMY)
    thanks, bus = reader.read(PASSAGES[:2])
    assert reader.labels[int(thanks.argmax())] == "gratitude"
    assert thanks[reader.labels.index("gratitude")] >= reader.thresholds[reader.labels.index("gratitude")]
    np.testing.assert_allclose(bus, np.full(28, 1 / 29))  # nothing but its tendency, so no label above another


def test_none_of_these_takes_from_all_labels() -> None:
    def first_token(request: ChatRequest) -> TokenLogprobs:
        is_bus = "bus" in request.messages[-1].content
        return (("none", -0.1), ("joy", -3.0)) if is_bus else (("joy", -0.7), ("none", -0.7))

    reader = ChatReader(answering(first_token), TAXONOMY)
    other, bus = reader.read([PASSAGES[0], PASSAGES[1]])
    assert bus.sum() < other.sum() < 1
    assert not (bus >= reader.thresholds).any()


def test_a_token_is_shared_by_the_answers_that_begin_with_it() -> None:
    answers = ("disgust", "disapproval", "joy", "deep joy", NONE)
    first_token = ((" Dis", math.log(0.4)), ("joy", math.log(0.3)), ("", -2.0), ("The", math.log(0.1)), ("x", -9.0))
    shares = np.exp(answer_logprobs(answers, first_token))
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] / shares[0] == pytest.approx(1.5)
    assert shares[3] == shares[4]
    assert 0 < shares[4] < 1e-3


def test_the_tendency_is_asked_once() -> None:
    chat = echo_chat()
    reader = ChatReader(chat, TAXONOMY)
    for _ in range(3):
        reader.read(PASSAGES)
    assert len(chat.requests) == 3 * len(PASSAGES) + len(CONTENT_FREE)


def test_all_requests_are_submitted_before_any_is_waited_for() -> None:
    chat = ScriptedChat(reply_to, slots=4, delay_s=0.2)
    ChatReader(chat, TAXONOMY).read([Passage(str(n)) for n in range(8)])  # one by one it would take 1.6 s
    assert len(chat.requests) == 8 + len(CONTENT_FREE)
    assert [str(n) in chat.requests[n].messages[-1].content for n in range(8)] == [True] * 8
    chat.close()


def test_a_chat_without_probabilities_is_a_model_error() -> None:
    chat = ScriptedChat(lambda request: replace(reply_to(request), first_token=()))
    with pytest.raises(ModelError, match="no token probabilities"):
        ChatReader(chat, TAXONOMY).read(PASSAGES)


def test_a_chat_that_does_not_answer_defers() -> None:
    with pytest.raises(DeferredError):
        ChatReader(ScriptedChat(lambda request: DeferredError("busy")), TAXONOMY).read(PASSAGES)


# Descriptions


def test_a_label_is_described_by_all_that_its_taxonomy_says() -> None:
    label = TAXONOMY.label("gratitude")
    sentences = [sentence for group in describe(label) for sentence in group]
    assert any(label.definition in sentence for sentence in sentences)
    assert set(label.synonyms) <= set(sentences)
    assert "I am full of gratitude." in sentences


def test_the_words_of_a_label_lead_to_it() -> None:
    reader = DescriptionsReader(HashedEncoder(), TAXONOMY)
    for name in ("gratitude", "disgust", "surprise"):
        scores = reader.read([Passage(f"I am full of {name}.")])[0]
        assert name in [reader.labels[place] for place in np.argsort(-scores)[:3]]


def test_no_label_is_ahead_on_what_says_nothing() -> None:
    reader = DescriptionsReader(HashedEncoder(), TAXONOMY)
    mean = reader.read([Passage(text) for text in EVERYDAY]).mean(axis=0)
    assert mean.max() < 4 / 28


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        DescriptionsReader(HashedEncoder(), TAXONOMY, background=["one", "one"])
    with pytest.raises(InputError, match="temperature"):
        DescriptionsReader(HashedEncoder(), TAXONOMY, temperature=0.0)


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("Thank you so much, I owe you everything.", "gratitude"),
        ("My grandmother died last night and I cannot stop crying.", "grief"),
        ("Eww, there is mould all over this bread!", "disgust"),
        ("I feel terrible about what I did to you, please forgive me.", "remorse"),
    ],
)
def test_a_real_encoder_tells_plain_lines(line: str, label: str, weights_cache: Path) -> None:
    found = resolve_weights(WeightsSpec(package="all-minilm-l6-v2"), cache=weights_cache)
    encoder = open_encoder("sentence", EncoderSettings(found.name, found.revision, found.path))
    reader = DescriptionsReader(encoder, TAXONOMY)
    scores = reader.read([Passage(line)])[0]
    assert label in [reader.labels[place] for place in np.argsort(-scores)[:3]]
