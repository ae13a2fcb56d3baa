# SPDX-License-Identifier: Apache-2.0
"""What the author of a story says its characters feel is found in its sections, or refused with file and reason."""

import pytest

from flows.recipe import load_recipe
from flows.stories import read_stories
from validators.errors import InputError

RECIPE = """\
name: told
stories: {path: stories, licence: CC0-1.0, evidence: given, section_words: 24}
writer: {backend: echo}
encoder: {backend: hashed}
utterances: {rows: 4}
"""
TEXT = """\
Ida had left the lid off the hive in the night, and in the morning every bee in it was dead and cold.

Marek came over the wall with two new swarms in a box, and he would not take any money for them at all.
"""
TOLD = """\
feelings:
  - {at: left the lid  off, who: Ida, feels: remorse, because: she forgot the lid}
  - {at: two new swarms, who: Ida, feels: gratitude, because: Marek brings her two swarms}
"""


@pytest.fixture
def stories(tmp_path):
    """Write a recipe and one story whose front matter is given."""

    def write(front, recipe=RECIPE):
        (tmp_path / "stories").mkdir(exist_ok=True)
        (tmp_path / "stories" / "bees.md").write_text(f"---\ntitle: Bees\n{front}---\n{TEXT}")
        (tmp_path / "told.yaml").write_text(recipe)
        return read_stories(load_recipe(tmp_path / "told.yaml"))

    return write


def test_each_feeling_lies_in_the_section_that_it_quotes(stories):
    (story,) = stories(TOLD)
    assert len(story.sections) == 2
    assert [(one.section, one.character, one.label, one.cause) for one in story.feelings] == [
        (0, "Ida", "remorse", "she forgot the lid"),
        (1, "Ida", "gratitude", "Marek brings her two swarms"),
    ]


def test_feelings_do_not_change_which_story_it_is_and_stay_apart_where_a_model_is_asked(stories):
    (told,) = stories(TOLD)
    (plain,) = stories("", RECIPE.replace("evidence: given", "evidence: model"))
    (unasked,) = stories(TOLD.replace("remorse", "saudade"), RECIPE.replace("evidence: given", "evidence: model"))
    assert told.story_id == plain.story_id == unasked.story_id
    assert unasked.feelings == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("two new swarms", "three new swarms", "'three new swarms' are nowhere in the story"),
        ("two new swarms", "the", "'the' are in several sections"),
        ("who: Ida, feels: gratitude", "who: Zineb, feels: gratitude", "nobody called 'Zineb'"),
        ("gratitude", "gratefulness", "no label 'gratefulness'"),
        ("who: Ida, feels: remorse", "feels: remorse", "entry 1: who"),
        ("feels: remorse", "feels: [remorse]", "entry 1: feels"),
        ("because: she forgot the lid", "why: x", "entry 1: "),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_file(stories, old, new, message):
    with pytest.raises(InputError, match=message) as caught:
        stories(TOLD.replace(old, new))
    assert caught.value.where.endswith("bees.md")


def test_a_text_in_place_of_the_list_is_refused(stories):
    with pytest.raises(InputError, match="is no list"):
        stories("feelings: Ida is sad\n")


def test_given_evidence_without_any_feelings_says_what_to_do(stories):
    with pytest.raises(InputError, match="add `feelings` to the front matter"):
        stories("")


def test_the_stories_that_come_with_the_package_say_enough():
    from pathlib import Path

    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.yaml")
    found = read_stories(recipe)
    labels = [feeling.label for story in found for feeling in story.feelings]
    assert all(len(story.feelings) >= 12 for story in found)
    assert recipe.utterances.labels is not None
    # each pair is asked at two intensities, so half as many as wanted rows are enough
    assert all(labels.count(label) >= 7 for label in recipe.utterances.labels)
