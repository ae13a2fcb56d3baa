# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from flows.fairytaleqa import parse_question, read_fairytaleqa
from flows.recipe import load_recipe, load_taxonomy
from flows.stories import read_stories
from validators.errors import InputError
from validators.text import count_words

RECIPE = """\
name: tales
stories: {{fairytaleqa: {folder}, licence: Apache-2.0, evidence: given, section_words: 30}}
writer: {{backend: echo}}
encoder: {{backend: hashed}}
utterances: {{rows: 10}}
"""

HEAD = "question_id,local-or-sum,cor_section,attribute1,attribute2,question,ex-or-im1,answer1,answer2,answer3"

# the real data is not part of the repository; clone it and name the folder to run the test that reads it
REAL = Path(os.environ.get("FAIRYTALEQA", Path(__file__).parents[3] / "shared" / "data" / "fairytaleqa"))


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("how did the pig feel about himself", ("the pig", ["glad"], "about himself")),
        ("How does the flax feel?", ("the flax", ["glad"], "")),
        ("How was Duchess feeling while Ribby was out?", ("Duchess", ["glad"], "while Ribby was out")),
        ("How would the mother feel after her daughter died?", ("the mother", ["glad"], "after her daughter died")),
        ("How will the king feel to about Ebe?", ("the king", ["glad"], "about Ebe")),
        ("How had the couple felt about having no child?", ("the couple", ["glad"], "about having no child")),
        ("What did the king feel when he saw it", ("the king", ["glad"], "when he saw it")),
        ("How did Hans begin to feel?", ("Hans", ["glad"], "")),
        ("How did the gift make the fairy feel?", ("the fairy", ["glad"], "")),
        ("How did the king, queen, and princess feel?", ("the king, queen, and princess", ["glad"], "")),
        ("How did the girl feel now?", ("the girl", ["glad"], "")),
        ("Why were both girls terrified?", ("both girls", ["terrified"], "because glad")),
        ("How did they feel when it rained?", None),
        ("How did the men who were late feel?", None),
        ("What did the Snow Man call the feeling?", None),
        ("What was the mother afraid of?", None),
        ("did the old people feel love or hate for the lamp?", None),
        ("", None),
    ],
)
def test_parse_question(question, asked):
    assert parse_question(question, ["glad"]) == asked


def make(root, sections, questions, name="the-fox"):
    for kind, rows in (("section-stories", ["section,text", *sections]), ("questions", [HEAD, *questions])):
        folder = root / "data-by-origin" / kind / "some-fairybook"
        folder.mkdir(parents=True, exist_ok=True)
        ending = "story" if kind == "section-stories" else "questions"
        (folder / f"{name}-{ending}.csv").write_text("\n".join(rows), encoding="utf-8-sig")


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(folder="data"), encoding="utf-8")
    return load_recipe(file)


def read(recipe):
    return read_fairytaleqa(recipe, recipe.resolve("data"), load_taxonomy(recipe))


LONG = " ".join(f"Line {number} of a tale about a hen." for number in range(20)) + " A wolf ate the cheese at last."


def test_answers_become_feelings_of_the_right_section(tmp_path, recipe):
    make(
        tmp_path / "data",
        [f'1,"{LONG}"', '2,"The fox ran."', '4,"The fox slept."'],
        [
            "1,local,1,feeling,,How did the wolf feel after he ate the cheese?,explicit,very happy,,",
            '2,local,"2,4",feeling,,How did the fox feel?,explicit,tired,scared,',
            "3,local,2,feeling,,How did the Fox feel?,explicit,afraid,,",
            "4,local,4,feeling,,How did the fox feel?,explicit,not afraid,tired,",
            "5,local,9,feeling,,How did the fox feel?,explicit,sad,,",
            "6,local,4,feeling,,How did he feel?,explicit,sad,,",
            "7,local,4,action,,How did the fox feel?,explicit,sad,,",
        ],
    )
    (story,), counts = read(recipe)
    assert counts == {
        "kept": 2,
        "asked twice": 1,
        "answers name no label": 1,
        "no such section": 1,
        "question not understood": 1,
    }
    assert [(feeling.section, feeling.character, feeling.label, feeling.cause) for feeling in story.feelings] == [
        (len(story.sections) - 3, "the wolf", "joy", "after he ate the cheese"),  # in the last piece of section 1
        (len(story.sections) - 2, "the fox", "fear", ""),
    ]
    assert story.title == "the fox"
    assert story.source == "FairytaleQA, some-fairybook/the-fox-story.csv"
    assert max(count_words(section) for section in story.sections) <= 40


def test_sections_that_people_cut_are_kept_up_to_twice_the_length(tmp_path, recipe):
    make(tmp_path / "data", [f'1,"{"word " * 60}"', f'2,"{"word " * 61}"'], [])
    (story,) = read_stories(recipe)
    assert [count_words(section) for section in story.sections] == [60, 30, 31]


def test_a_folder_that_is_something_else(tmp_path, recipe):
    for _ in range(2):
        with pytest.raises(InputError, match="is not the FairytaleQA folder") as caught:
            read(recipe)
        assert "Clone https://" in caught.value.next_step
        (tmp_path / "data").mkdir(exist_ok=True)


def test_what_is_missing_is_named(tmp_path, recipe):
    make(tmp_path / "data", ["1,Once."], [])
    questions = tmp_path / "data/data-by-origin/questions/some-fairybook/the-fox-questions.csv"
    questions.write_text("cor_section,atribute1,question,answer1\n1,feeling,How?,sad\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"Column 'attribute1' is missing. Did you mean 'atribute1'"):
        read(recipe)
    questions.unlink()
    with pytest.raises(InputError, match=r"questions of .*the-fox-story.csv are missing"):
        read(recipe)


@pytest.mark.skipif(not REAL.is_dir(), reason="FairytaleQA is not here: clone it, and set FAIRYTALEQA to its folder")
def test_most_of_the_real_answers_become_feelings(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(folder=REAL).replace("section_words: 30", "section_words: 150"), encoding="utf-8")
    recipe = load_recipe(file)
    stories, counts = read_fairytaleqa(recipe, REAL, load_taxonomy(recipe))
    assert len(stories) == 278
    assert sum(counts.values()) == 1024
    assert counts["kept"] > 800
    feelings = [feeling for story in stories for feeling in story.feelings]
    assert len({feeling.label for feeling in feelings}) >= 20
    assert sum(bool(feeling.cause) for feeling in feelings) > 0.9 * len(feelings)
    assert len({story.story_id for story in stories}) == 278
