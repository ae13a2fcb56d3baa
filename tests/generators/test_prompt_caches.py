# SPDX-License-Identifier: Apache-2.0
import pytest

from generators.backends.prompt_caches import PromptCaches

WRITE = "You write what a character says aloud. " * 4
READ = "You name the emotion of who says this. " * 4


def asked(caches: PromptCaches, prompt: str) -> int:
    with caches.take(prompt) as sequence:
        return sequence


def test_a_repair_comes_back_to_where_its_prompt_lies() -> None:
    caches = PromptCaches(3)
    story = f"{WRITE}The king stood at the window and saw the ships come home over the grey water."
    first = asked(caches, story)
    asked(caches, f"{WRITE}Another story, of a mouse that lived in a clock and could not sleep at noon.")
    assert asked(caches, f"{story} Say something else.") == first


def test_writing_and_reading_each_find_what_their_prompts_begin_with() -> None:
    caches = PromptCaches(2)
    writes, reads = asked(caches, f"{WRITE}one"), asked(caches, f"{READ}one")
    assert writes != reads
    for n in range(3):
        assert asked(caches, f"{WRITE}{n}") == writes
        assert asked(caches, f"{READ}{n}") == reads


def test_of_equals_the_longest_idle_is_taken() -> None:
    caches = PromptCaches(3)
    taken = [asked(caches, WRITE + start) for start in ("[aa", "[ab", "[ba", "[bb", "[ac", "[ca")]
    # the first finds all empty; then each like prompt finds the cache that has the constant part
    assert taken == [taken[0]] * 6
    with caches.take(WRITE + "x") as one, caches.take(WRITE + "y") as other, caches.take(WRITE + "z") as third:
        assert len({one, other, third}) == 3
    # freed in the order third, other, one
    assert [asked(caches, WRITE + "v"), asked(caches, WRITE + "w")] == [third, other]


def test_a_prompt_that_fails_leaves_its_sequence_idle() -> None:
    caches = PromptCaches(1)
    with pytest.raises(ValueError, match="broken"), caches.take(WRITE):
        raise ValueError("broken")
    assert asked(caches, READ) == 0
