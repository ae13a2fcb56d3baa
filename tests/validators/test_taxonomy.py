# SPDX-License-Identifier: Apache-2.0
import copy
from typing import Any

import pytest
from pydantic import ValidationError

from validators.errors import InputError
from validators.gates import naming_words
from validators.taxonomy import Taxonomy, builtin_names, builtin_taxonomy, canonical_names, taxonomy_sha256

GOOD: dict[str, Any] = {
    "name": "weather",
    "title": "Weather of the mind",
    "version": 1,
    "source": "ours",
    "neutral": "still",
    "labels": [
        {"name": "still", "title": "Still", "definition": "Nothing stirs in a person.", "valence": 0, "arousal": 0.1},
        {
            "name": "stormy",
            "title": "Stormy",
            "definition": "Hot anger that wants out.",
            "synonyms": ["stormy", "raging"],
            "valence": -0.7,
            "arousal": 0.9,
            "canonical": "anger",
        },
    ],
}


def changed(**keys):
    data = copy.deepcopy(GOOD)
    data["labels"][1] |= keys
    return data


@pytest.mark.parametrize("name", builtin_names())
def test_every_builtin_taxonomy_is_valid(name):
    taxonomy = builtin_taxonomy(name)
    assert taxonomy.name == name
    assert {label.canonical for label in taxonomy.labels} <= {*canonical_names(), None}


@pytest.mark.parametrize("name", builtin_names())
def test_every_emotion_is_told_how_it_shows_without_being_named(name):
    taxonomy = builtin_taxonomy(name)
    for label in taxonomy.labels:
        assert bool(label.shows_by) == (label.name != "neutral")
        for way in label.shows_by:
            assert not naming_words(way, taxonomy.synonyms[label.name]), label.name


def test_a_label_shows_as_it_says_else_as_its_canonical_one_does():
    stormy = Taxonomy.model_validate(GOOD).label("stormy")
    assert stormy.shows_by == builtin_taxonomy("canonical").label("anger").expressions
    own = Taxonomy.model_validate(changed(expressions=["slam a door"]))
    assert own.label("stormy").shows_by == ("slam a door",)
    assert Taxonomy.model_validate(changed(canonical=None)).label("stormy").shows_by == ()
    assert taxonomy_sha256(own) != taxonomy_sha256(Taxonomy.model_validate(GOOD))


def test_sizes_of_the_builtin_taxonomies():
    sizes = {name: len(builtin_taxonomy(name).names) for name in builtin_names()}
    assert sizes == {"canonical": 44, "deepdialogue": 20, "emonet": 40, "goemotions": 28}
    assert builtin_taxonomy("goemotions").neutral == "neutral"


def test_labels_are_found_and_carry_their_own_name_as_synonym():
    taxonomy = Taxonomy.model_validate(GOOD)
    assert taxonomy.names == ("still", "stormy")
    assert taxonomy.label("stormy").canonical == "anger"
    assert taxonomy.synonyms["still"] == ("still",)
    with pytest.raises(InputError, match="Did you mean 'stormy'"):
        taxonomy.label("strmy")


def test_unknown_builtin_names_the_closest():
    with pytest.raises(InputError, match="Did you mean 'goemotions'"):
        builtin_taxonomy("goemotion")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "Still"}, "'Still' occurs twice"),
        ({"definition": "anger"}, "label 'stormy' needs a definition"),
        ({"synonyms": []}, "label 'stormy' has no synonyms"),
        ({"canonical": "angre"}, "label 'stormy' points to an unknown canonical label.*'anger'"),
        ({"valence": 2}, "less than or equal to 1"),
        ({"arousal": float("nan")}, "finite"),
        ({"colour": "red"}, "Extra inputs"),
        ({"name": "a\nb"}, "pattern"),
    ],
)
def test_bad_labels_are_named(keys, message):
    with pytest.raises(ValidationError, match=message):
        Taxonomy.model_validate(changed(**keys))


def test_neutral_must_be_a_label():
    with pytest.raises(ValidationError, match="'calm' is not among the labels"):
        Taxonomy.model_validate({**GOOD, "neutral": "calm"})


def test_one_label_is_no_taxonomy():
    with pytest.raises(ValidationError, match="at least two"):
        Taxonomy.model_validate({**GOOD, "labels": GOOD["labels"][:1]})


def test_hash_follows_the_content_alone():
    taxonomy = Taxonomy.model_validate(GOOD)
    assert taxonomy_sha256(taxonomy) == taxonomy_sha256(Taxonomy.model_validate(dict(reversed(GOOD.items()))))
    assert taxonomy_sha256(taxonomy) != taxonomy_sha256(Taxonomy.model_validate(changed(valence=-0.6)))
