# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validators.gates import (
    GateBounds,
    complete,
    copies_nothing,
    first_person,
    line_gates,
    names_no_label,
    naming_words,
    ngrams,
    no_model_talk,
    no_repetition,
    no_residue,
    no_stranger,
    right_language,
    right_length,
    situation_gates,
    split_words,
    third_person,
)
from validators.judging import Gate, judge
from validators.taxonomy import builtin_names, builtin_taxonomy
from validators.verdicts import ACCEPTED, Verdict

SECTION = (
    "Tova had forgotten to close the gate of the upper field. In the morning the flock was gone, and her uncle Aldo "
    "sat on the wall and would not speak to her."
)
PROMPT = "I keep the lids on the shelf next to the door, the small ones on top."
REMORSE = ("remorse", "regret", "guilt", "guilty", "ashamed")
GOOD_LINE = "I went to bed without looking, Aldo, and you have lost everything because of me."
GOOD_SITUATION = "Tova did not shut the upper field in the evening, and by morning the sheep had run off."
LONG = "I carried the water up the hill, then the bread, the oil, the lamp and the letters, " * 4


def gates_of_line(character: str = "Tova") -> list[Gate]:
    return line_gates(
        character=character,
        section=SECTION,
        synonyms=REMORSE,
        language="en",
        prompt=PROMPT,
        strangers=("marek",),
        bounds=GateBounds(),
    )


def test_people_of_the_examples_do_not_come_along():
    assert judge("I told you so, Marek, and now the sheep are gone.", gates_of_line()).reason == "prompt_residue"
    assert no_stranger("I told you so, Marek.", strangers=["marek"], source="Marek kept sheep.") == ACCEPTED


def gates_of_situation() -> list[Gate]:
    return situation_gates(
        line=GOOD_LINE,
        section=SECTION,
        feelings=REMORSE,
        language="en",
        prompt=PROMPT,
        strangers=("marek",),
        bounds=GateBounds(),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I’m here — aren't you?", ["i'm", "here", "aren't", "you"]),
        ("self-conscious", ["self", "conscious"]),
        ("emotional_numbness", ["emotional", "numbness"]),
        ("Room 12b, 7 o'clock", ["room", "12", "b", "7", "o'clock"]),
        ("Ærø, Škoda, Ніна", ["ærø", "škoda", "ніна"]),
        ("'quoted'", ["quoted"]),
        ("… !", []),
        ("", []),
    ],
)
def test_split_words(text, words):
    assert split_words(text) == words


def test_ngrams_are_all_runs_of_neighbours():
    assert list(ngrams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")]
    assert list(ngrams(["a"], 2)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I saw it.", "too_short"),
        ("I saw it happen.", None),
        ("one two three four five six seven eight nine ten", None),
        ("one two three four five six seven eight nine ten eleven", "too_long"),
        ("", "too_short"),
    ],
)
def test_length_is_counted_in_words_with_both_bounds_allowed(text, reason):
    assert right_length(text, fewest=4, most=10).reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "Marek, Ida, where is Tom?",
        "Madame Duval, I saw Jean and Pierre near the Rue Royale.",
        "Hans, Greta, come with me!",
        "I told Giuseppe and Francesca to wait.",
        "Björn, Åsa, I brought the herring!",
        "Señor Alvarez, I owe you my life.",
        "Tell Xiaoming and Li Wei that I waited.",
        "I left it with Krzysztof and Małgorzata.",
        "I can't, Aino.",
        "Oh no, no, no!",
        "Ay, Don Quijote, I warned you!",
        "Ha! Ha! I win.",
        "Ngozi, Chukwuemeka and I walked here from Enugu.",
    ],
)
def test_english_lines_full_of_names_are_english(text):
    assert right_language(text, language="en") == ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        "Ich habe den ganzen Morgen auf dich gewartet, Marek.",
        "Ich habe dich so lange gesucht!",
        "Warum hast du mir nie gesagt, dass er zurückgekommen ist?",
        "J'ai attendu toute la matinée devant la porte du moulin.",
        "Pourquoi tu ne me parles plus?",
        "Je ne peux pas croire que tu sois revenu, mon frère.",
        "你为什么要这样对我？",
        "我整个早上都在磨坊门口等你，你为什么不来？",
    ],
)
def test_other_languages_are_rejected(text):
    verdict = right_language(text, language="en")
    assert verdict.reason == "wrong_language"
    assert verdict.detail.endswith("instead of en")


@pytest.mark.parametrize(
    "text", ["我，都，不，来！", "我 整个 早上 都 在 等 你!", "Ты меня бросил!", "Γιατί δεν ήρθες;", "لماذا لم تأت؟"]
)
def test_a_script_that_cannot_be_the_languages_counts_at_once(text):
    assert right_language(text, language="en").reason == "wrong_language"


def test_the_language_is_the_one_asked_for():
    german = "Ich habe den ganzen Morgen auf dich gewartet, Marek."
    assert right_language(german, language="de") == ACCEPTED
    assert right_language("I have been waiting for you the whole morning.", language="de").reason == "wrong_language"


@pytest.mark.parametrize(
    ("character", "text"),
    [
        ("Ida", "I did this, Marek. I would undo it if I could."),
        ("Ida", "I’m not leaving without the dog."),
        ("Ida", "Give it back to us before the bell rings."),
        ("Ida", "You never asked where they had gone."),
        ("Ida", "How dare he!"),
        ("Ida", "Who left the door open?"),
        ("Ida", "Get out of this house!”"),
        ("Ida", "I am Ida, and these bees are mine."),
        ("Ida", "My name is Ida."),
        ("old Marek", "They call me old Marek."),
        ("Ida", "I'm Ida, from the mill."),
        ("the old king", "I was old when the young queen came to the hall."),  # titles tell nobody from others
        ("Tom", "I counted every tomato in the crate."),  # a part of a word is no name
    ],
)
def test_lines_said_by_their_speaker_pass(character, text):
    assert first_person(text, character=character) == ACCEPTED


@pytest.mark.parametrize(
    ("character", "text", "verdict"),
    [
        ("Ida", "She turned away and wept.", Verdict("not_first_person", "nobody speaks in it")),
        ("Ida", "Marek walked to the mill.", Verdict("not_first_person", "nobody speaks in it")),
        ("Ida", "", Verdict("not_first_person", "nobody speaks in it")),
        ("Ida", "Ida could not look at him.", Verdict("names_its_speaker", "ida")),
        ("Ida", "I think Ida should go.", Verdict("names_its_speaker", "ida")),
        ("Ida", "It was Ida's fault that I fell.", Verdict("names_its_speaker", "ida's")),
        ("Ida", "It was Ida’s fault that I fell.", Verdict("names_its_speaker", "ida's")),
        ("Ida", "I'm sorry, Ida, I did not see you.", Verdict("names_its_speaker", "ida")),
        ("Ida", "Ida, how could you!", Verdict("names_its_speaker", "ida")),
        ("old Marek", "I told you that Marek sleeps.", Verdict("names_its_speaker", "marek")),
        ("the fox", "The fox said that I was late.", Verdict("names_its_speaker", "fox")),
    ],
)
def test_narration_and_own_names_are_not_said_by_a_speaker(character, text, verdict):
    assert first_person(text, character=character) == verdict


@pytest.mark.parametrize(
    ("character", "text"),
    [
        ("Will", "I will wait for you at the gate."),
        ("May", "You may keep what I gave you."),
        ("Little Red Riding Hood", "I picked the red ones for my grandmother."),
        ("Tom and Ida", "We carried the bread and the milk."),
    ],
)
def test_a_common_word_in_a_name_is_not_the_name(character, text):
    assert first_person(text, character=character) == ACCEPTED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD_SITUATION, None),
        ("Marek said: “I am leaving.” Then he left.", None),
        ('Marek shouted "my bees" at the fox.', None),
        ("I saw how Marek left the mill.", "i"),
        ("Marek hit me. I’m still at home.", "i'm, me"),
        ("Marek spoke to my “good” uncle.", "my"),
    ],
)
def test_a_situation_has_no_narrator_outside_of_quotes(text, said):
    assert third_person(text) == (ACCEPTED if said is None else Verdict("not_third_person", said))


@pytest.mark.parametrize(
    ("text", "synonym", "found"),
    [
        ("I am so joyful.", "joy", ["joyful"]),
        ("All my joys are gone.", "joy", ["joys"]),
        ("He took it gratefully.", "grateful", ["gratefully"]),
        ("I loved you; you still love me.", "love", ["loved", "love"]),
        ("He sighed lovingly.", "love", ["lovingly"]),
        ("I envied her.", "envy", ["envied"]),
        ("She worries, and he is worried.", "worry", ["worries", "worried"]),
        ("I was grieving for him.", "grieve", ["grieving"]),
        ("Such sadness!", "sad", ["sadness"]),
        ("I'M FURIOUS!", "furious", ["furious"]),
        ("I am afraid.", "Afraid", ["afraid"]),
        ("He is at ease now.", "at ease", ["at ease"]),
        ("Ease lies at home.", "at ease", []),
        ("You let me down.", "let down", []),
        ("I felt let down by you.", "let down", ["let down"]),
        ("She was self-conscious.", "self-conscious", ["self conscious"]),
        ("She was self conscious.", "self-conscious", ["self conscious"]),
        ("I feel an emotional numbness.", "emotional_numbness", ["emotional numbness"]),
        ("I can’t stand it.", "can't stand", ["can't stand"]),
        ("I can't stand it.", "can’t stand", ["can't stand"]),
        ("I thank you.", "thankful", []),
        ("It was a long road.", "longing", []),
        ("I care for the hens.", "caring", []),
        ("I am enjoying it.", "joy", []),
        ("The madam smiled.", "mad", []),
        ("I am unhappy.", "happy", []),
    ],
)
def test_forms_of_a_word_that_names_the_label_are_found(text, synonym, found):
    assert naming_words(text, [synonym]) == found


def test_naming_words_come_in_the_order_of_the_text_and_once_each():
    assert naming_words("Guilt and regret, and then guilt.", ["regret", "guilt", "guilty"]) == [
        "guilt",
        "regret",
        "guilt",
    ]
    assert names_no_label("Guilt and regret.", synonyms=REMORSE) == Verdict("names_its_label", "guilt, regret")
    assert names_no_label(GOOD_LINE, synonyms=REMORSE) == ACCEPTED
    assert names_no_label("Guilt.", synonyms=()) == ACCEPTED


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("fear", "It scares me."),
        ("fear", "It terrifies me."),
        ("annoyance", "You annoy me, Tom!"),
        ("confusion", "You confuse me."),
        ("surprise", "That is amazing!"),
        ("nervousness", "I worry about you."),
        ("disappointment", "You disappoint me."),
        ("embarrassment", "You embarrass me."),
        ("excitement", "This thrills me."),
        ("anger", "That infuriates me."),
    ],
)
def test_the_everyday_verb_of_a_label_names_it(label, text):
    synonyms = builtin_taxonomy("goemotions").synonyms[label]
    assert names_no_label(text, synonyms=synonyms).reason == "names_its_label"


@pytest.mark.parametrize("synonym", ["😀", "…", "_"])
def test_a_synonym_without_words_names_nothing(synonym):
    assert naming_words("I am here.", [synonym]) == []


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "He was {} then.",
        "So that is what {} means!",
        "“{}”, he said.",
    ],
)
@pytest.mark.parametrize("taxonomy", builtin_names())
def test_every_word_of_a_builtin_taxonomy_is_found_in_a_sentence(taxonomy, form):
    missed = [
        (label.name, synonym)
        for label in builtin_taxonomy(taxonomy).labels
        for synonym in (label.name, *label.synonyms)
        for shown in (synonym, synonym.upper(), synonym.capitalize(), synonym.replace("'", "’"))
        if " ".join(split_words(synonym)) not in naming_words(form.format(shown), [synonym])
    ]
    assert missed == []


def test_six_shared_words_are_a_copy_and_five_are_not():
    assert copies_nothing("I forgot to close the gate.", source=SECTION, n=6) == ACCEPTED
    verdict = copies_nothing("He SAT on the wall and would not, I think.", source=SECTION, n=6)
    assert verdict == Verdict("copies_section", "on the wall and would not")
    assert copies_nothing("sat on the wall and — I think.", source=SECTION, n=6) == ACCEPTED
    assert copies_nothing(SECTION, source=SECTION, n=6, reason="prompt_residue").reason == "prompt_residue"
    assert copies_nothing("one two three", source="one two three", n=6) == ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        "As an AI, I do not have feelings.",
        "As a language model I was not there.",
        "I'm sorry, but I can't assist with that.",
        "I cannot assist you there.",
        "I can't help with this request.",
        "I won't provide such a text.",
        "I am unable to generate that.",
        "My guidelines do not allow it.",
        "ChatGPT says hello.",
    ],
)
def test_refusals_and_model_talk_are_rejected(text):
    assert no_model_talk(text).reason == "refusal_or_model_talk"


@pytest.mark.parametrize(
    "text",
    [
        GOOD_LINE,
        "I'm sorry, but you started it.",
        "I cannot carry you all the way.",
        "I can't help it, Marek!",
        "He is as an aide to me.",
        "I won't go with you.",
    ],
)
def test_people_may_be_sorry_and_unable(text):
    assert no_model_talk(text) == ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        '{"line": "I did it."}',
        "I did it.] And more.",
        "<b>I did it.</b>",
        "I did it.|",
        r"I did it.\nThen I left.",
        "$character did it.",
        "=== system",
        "`I did it.`",
        "In this passage I am alone.",
        "The instructions say so.",
        "This is my utterance.",
        "I am the speaker of this.",
        "The emotion grows in me.",
        "I say it in first person.",
        "Line 2 is mine.",
        "He feels remorse (strong) now.",
        "With great intensity I ran.",
        "Here is the JSON you wanted.",
    ],
)
def test_pieces_of_prompts_and_markup_are_rejected(text):
    assert no_residue(text).reason == "prompt_residue"


@pytest.mark.parametrize(
    "text", [GOOD_LINE, "I (yes, me) did it: 3 = 2 + 1.", "The characters of this town!", "I pressed on without you."]
)
def test_plain_speech_is_no_residue(text):
    assert no_residue(text) == ACCEPTED


@pytest.mark.parametrize(
    "text",
    ["I did it.", "I did it!", "Did I?", "I did…", "But I —", "But I-", "“I did it.”", 'Yes."', "I did it.’", "Yes. "],
)
def test_a_text_with_an_end_is_complete(text):
    assert complete(text) == ACCEPTED


@pytest.mark.parametrize("text", ["I did", "I did it,", "“I did it,” he said", "", "I did it. And then the"])
def test_a_text_that_breaks_off_is_truncated(text):
    assert complete(text) == Verdict("truncated", text[-40:])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD_LINE, None),
        ("No, no, no! I will not.", None),
        ("No, no, no, no! I will not.", "repeats_itself"),
        ("NO no No nO, I said.", "repeats_itself"),
        (
            "Thank you for, thank you for, thank you for the bread and the long walk with the two of us.",
            "repeats_itself",
        ),
        ("I am here. I am here. I am here.", "repeats_itself"),
        ("I know, I know. You told me so.", None),
        ("I want to go home. I want to go home. I want to go home.", "repeats_itself"),
        ("", None),
    ],
)
def test_repetition(text, reason):
    assert no_repetition(text).reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD_LINE, None),
        ("[I went to bed without looking, Aldo.]", "prompt_residue"),
        ("I'm sorry, but I can not comply, Aldo.", "refusal_or_model_talk"),
        ("I did it.", "too_short"),
        (LONG, "too_long"),
        ("I went to bed without looking, and", "truncated"),
        ("I am, I am, I am, I am, I am, I am.", "repeats_itself"),
        ("She went to bed without looking.", "not_first_person"),
        ("I, Tova, went to bed without looking.", "names_its_speaker"),
        ("I regretted it before I was in bed.", "names_its_label"),
        ("You sat on the wall and would not look at me.", "copies_section"),
        ("I keep the lids on the shelf over there.", "prompt_residue"),
        ("Ich habe nicht nach dem Tor gesehen, Onkel, und jetzt sind alle Schafe weg! You?", "wrong_language"),
    ],
)
def test_gates_of_a_line_give_their_reasons(text, reason):
    assert judge(text, gates_of_line()).reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD_SITUATION, None),
        (SECTION, None),  # it may retell the section
        ("Tova forgot the gate. {}", "prompt_residue"),
        ("As an AI, it cannot describe the field.", "refusal_or_model_talk"),
        ("Tova sleeps now.", "too_short"),
        (LONG + LONG, "too_long"),
        ("Tova did not shut the gate of the", "truncated"),
        ("Tova slept and Tova slept and Tova slept and Tova slept.", "repeats_itself"),
        ("Tova told me that the gate was shut.", "not_third_person"),
        ("Tova feels guilty about the open gate.", "names_its_label"),
        ("Tova says: “I went to bed without looking, Aldo.”", "gives_the_line_away"),
        ("Aldo has the lids on the shelf next to the door.", "prompt_residue"),
        ("Tova hat das Tor nicht geschlossen, und am Morgen waren alle Schafe fort.", "wrong_language"),
    ],
)
def test_gates_of_a_situation_give_their_reasons(text, reason):
    assert judge(text, gates_of_situation()).reason == reason


def test_bounds_come_from_the_recipe():
    bounds = GateBounds(min_words=2, max_words=3, copied_ngram=3, max_situation_words=5)
    gates = line_gates(
        character="Tova", section=SECTION, synonyms=(), language="en", prompt=PROMPT, strangers=(), bounds=bounds
    )
    assert judge("I did it.", gates) == ACCEPTED
    assert judge("I did it now.", gates).reason == "too_long"
    assert judge("On the wall!", gates).reason == "copies_section"
    gates = situation_gates(
        line=GOOD_LINE, section=SECTION, feelings=(), language="en", prompt=PROMPT, strangers=(), bounds=bounds
    )
    assert judge("Tova left the field open.", gates) == ACCEPTED
    assert judge("Tova left the upper field open.", gates).reason == "too_long"


def test_judge_stops_at_the_first_rejection():
    asked: list[str] = []

    def gate(name: str, verdict: Verdict) -> Gate:
        def ask(text: str) -> Verdict:
            asked.append(name)
            return verdict

        return ask

    first, second = Verdict.reject("first"), Verdict.reject("second")
    assert judge("text", [gate("a", ACCEPTED), gate("b", first), gate("c", second)]) is first
    assert asked == ["a", "b"]
    assert judge("text", []) == ACCEPTED


def test_details_are_bounded():
    assert len(complete("a" * 1000).detail) == 40
    assert len(names_no_label("guilt " * 1000, synonyms=REMORSE).detail) == 200


GATES: list[Callable[[str], Verdict]] = [
    lambda text: right_length(text, fewest=4, most=45),
    lambda text: right_language(text, language="en"),
    lambda text: first_person(text, character=text),
    lambda text: first_person(text, character="Ida"),
    third_person,
    lambda text: names_no_label(text, synonyms=[text, "joy"]),
    lambda text: copies_nothing(text, source=text, n=6),
    no_model_talk,
    no_residue,
    complete,
    no_repetition,
    lambda text: judge(text, gates_of_line(text)),
    lambda text: judge(text, gates_of_situation()),
]
PIECES = st.sampled_from(["I", "no ", "joy ", "’", "“", '"', "Ida's ", "{", "$a", ". ", "\n", "İ", "ß", "\u0301", "你"])
ANY = st.one_of(
    st.text(max_size=80),
    st.text(st.characters(), max_size=30),  # with lone surrogates
    st.lists(PIECES | st.text(max_size=3), max_size=30).map("".join),
)


@settings(deadline=None, max_examples=60)
@given(ANY)
def test_no_gate_raises_whatever_the_text(text):
    for gate in GATES:
        verdict = gate(text)
        assert isinstance(verdict, Verdict)
        assert len(verdict.detail) <= 200
        assert gate(text) == verdict


def test_gates_take_a_long_text():
    for text in ("a" * 100_000, "I said no. " * 2_000, '"' * 10_000, ". " * 10_000, "=" * 10_000, "“" * 500):
        for gate in (no_residue, no_model_talk, complete, no_repetition, third_person):
            assert isinstance(gate(text), Verdict)
