# SPDX-License-Identifier: Apache-2.0
"""Every label of every taxonomy has a delivery, neighbours sound alike, and intensity scales it."""

import itertools
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from generators.speech.delivery import BOUNDS, CONTROLS, STEPS, builtin_map, vary
from validators.speech_records import Delivery
from validators.taxonomy import Label, builtin_taxonomy

TAXONOMIES = ("goemotions", "deepdialogue", "emonet", "canonical")
ALL = [(name, label) for name in TAXONOMIES for label in builtin_taxonomy(name).labels]


def controls(delivery):
    return np.array([getattr(delivery, name) for name in CONTROLS])


def label_at(valence, arousal, name="mine"):
    return Label(name=name, title=name, definition="a feeling of somebody's own", valence=valence, arousal=arousal)


@pytest.mark.parametrize(("taxonomy", "label"), ALL, ids=lambda one: getattr(one, "name", one))
def test_a_stronger_feeling_is_the_same_further_from_neutral(taxonomy, label):
    mild, strong = (controls(builtin_map().deliver(label, intensity)) for intensity in (1, 2))
    assert np.linalg.norm(strong) > np.linalg.norm(mild) > 0
    # the same direction, but where a bound holds the strong one
    inside = [n for n, name in enumerate(CONTROLS) if BOUNDS[name][0] < strong[n] < BOUNDS[name][1]]
    assert np.allclose(mild[inside] * 2, strong[inside], atol=2e-3)


def test_a_text_without_a_feeling_is_said_as_the_voice_does():
    neutral = builtin_taxonomy("goemotions").label("neutral")
    assert builtin_map().deliver(neutral, None) == Delivery()


def test_no_two_labels_of_a_taxonomy_sound_the_same():
    for name in TAXONOMIES:
        labels = builtin_taxonomy(name).labels
        for one, other in itertools.combinations(labels, 2):
            assert builtin_map().deliver(one, 2) != builtin_map().deliver(other, 2)


@pytest.mark.parametrize(
    ("high", "low", "control"),
    [
        ("anger", "sadness", "pitch_st"),
        ("anger", "sadness", "rate_oct"),
        ("anger", "sadness", "gain_db"),
        ("anger", "sadness", "tilt_db"),
        ("excitement", "relief", "range_oct"),
        ("fear", "sadness", "pitch_st"),
        ("anger", "fear", "tilt_db"),
        ("sadness", "joy", "pause_oct"),
    ],
)
def test_feelings_lie_to_each_other_as_measured_ones_do(high, low, control):
    taxonomy = builtin_taxonomy("goemotions")
    above, below = (getattr(builtin_map().deliver(taxonomy.label(name), 2), control) for name in (high, low))
    assert above > below


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), st.sampled_from([1, 2]))
def test_labels_that_lie_near_each_other_sound_alike(valence, arousal, more_valence, more_arousal, intensity):
    there = label_at(min(max(valence + more_valence, -1), 1), min(max(arousal + more_arousal, 0), 1))
    apart = controls(builtin_map().deliver(label_at(valence, arousal), intensity)) - controls(
        builtin_map().deliver(there, intensity)
    )
    assert (np.abs(apart) < 2 * np.array([STEPS[name] for name in CONTROLS])).all()


def test_a_measured_feeling_sounds_as_it_was_measured():
    table = YAML(typ="safe", pure=True).load((files("generators.speech") / "delivery.yaml").read_text())
    emonet = builtin_taxonomy("emonet")
    for name, anchor in table["anchors"].items():
        given = builtin_map().deliver(emonet.label(name), 2)
        for control in CONTROLS:
            assert abs(getattr(given, control) - anchor[control]) <= STEPS[control], (name, control)


@given(st.sampled_from(ALL), st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_a_further_take_strays_by_one_step_at_most(named, take, seed):
    asked = builtin_map().deliver(named[1], 2)
    varied = vary(asked, take, seed=seed)
    assert varied == vary(asked, take, seed=seed)
    for name in CONTROLS:
        assert abs(getattr(varied, name) - getattr(asked, name)) <= STEPS[name] + 1e-3
        assert getattr(varied, name) == 0 if getattr(asked, name) == 0 else True


def test_the_first_take_is_as_asked_and_neutral_stays_neutral():
    anger = builtin_map().deliver(builtin_taxonomy("goemotions").label("anger"), 2)
    assert vary(anger, 0, seed=1) == anger
    assert vary(anger, 1, seed=1) != vary(anger, 2, seed=1)
    assert vary(Delivery(), 3, seed=1) == Delivery()


def test_a_users_own_label_has_a_delivery():
    assert builtin_map().deliver(label_at(-0.8, 0.9), 2).pitch_st > 1
