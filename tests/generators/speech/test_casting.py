# SPDX-License-Identifier: Apache-2.0
"""A character keeps one voice, and labels spread over voices."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.speech.casting import Part, cast

VOICES = ("one", "two", "three", "four")
PARTS = st.lists(
    st.dictionaries(st.sampled_from(["anger", "joy", "fear"]), st.integers(1, 6), min_size=1), min_size=1, max_size=30
)


def parts_of(said):
    return [Part((f"s-{n}", "Ida"), labels) for n, labels in enumerate(said)]


@given(PARTS, st.integers(0, 99), st.randoms())
def test_the_cast_does_not_depend_on_the_order_of_parts(said, seed, chance):
    parts = parts_of(said)
    mixed = list(parts)
    chance.shuffle(mixed)
    assert cast(parts, VOICES, seed=seed) == cast(mixed, VOICES, seed=seed)


@given(PARTS, PARTS)
def test_who_was_cast_before_keeps_their_voice(first, more):
    before = cast(parts_of(first), VOICES, seed=1)
    after = cast(parts_of([*first, *more]), VOICES, seed=1, before=before)
    assert {speaker: after[speaker] for speaker in before} == before
    assert len(after) == len(first) + len(more)


def test_labels_spread_over_the_voices():
    said = [{label: 1} for label in ("anger", "joy", "fear") for _ in range(40)]
    voices = cast(parts_of(said), VOICES, seed=3)
    counts = Counter((voices[f"s-{n}", "Ida"], next(iter(labels))) for n, labels in enumerate(said))
    assert set(counts.values()) == {10}


def test_two_who_talk_to_each_other_sound_different():
    parts = []
    for n in range(20):
        pair = ((f"d-{n}", "Leila"), (f"d-{n}", "Bruno"))
        parts += [Part(pair[0], {"joy": 2}, (pair[1],)), Part(pair[1], {"joy": 2}, (pair[0],))]
    voices = cast(parts, VOICES, seed=0)
    assert all(voices[f"d-{n}", "Leila"] != voices[f"d-{n}", "Bruno"] for n in range(20))
    assert set(cast(parts, ("one",), seed=0).values()) == {"one"}


def test_without_voices_nobody_is_cast():
    with pytest.raises(ValueError, match="without voices"):
        cast(parts_of([{"joy": 1}]), (), seed=0)
