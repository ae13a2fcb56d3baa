# SPDX-License-Identifier: Apache-2.0
"""Rule gates for one turn of a dialogue: one speaker, speech alone, nothing said before."""

import re
from collections.abc import Sequence
from functools import partial

from validators.gates import (
    TITLES,
    GateBounds,
    complete,
    copies_nothing,
    names_no_label,
    no_model_talk,
    no_repetition,
    no_residue,
    no_stranger,
    right_language,
    right_length,
    says_own_name,
    split_words,
)
from validators.judging import Gate
from validators.personal_data import no_personal_data
from validators.roles import Encoder
from validators.verdicts import ACCEPTED, Verdict

REPEATED_NGRAM = 5  # people take up a few words of each other, not half a sentence
SHARED_WORDS = 0.8  # of the words of two turns together; a turn that answers takes up fewer
_STAGE_DIRECTION = re.compile(r"\*[^*]+\*|\([^)]*\)|^\s*[-–—]\s")
_CALLS = re.compile(
    r"\b(?:dear|dearest|oh|hey|hello|hi|my|you|no|yes|thanks|sorry|well|please|goodbye|morning|evening|welcome)$",
    re.IGNORECASE,
)
"""Words before a name that call it without a comma."""
_TOLD = re.compile(r"[\"”’,]\s*(?:he|she|they|\w+)\s+(?:said|says|asked|asks|replied|replies|whispered|shouted)\b")


def one_speaker(text: str, *, speaker: str, other: str) -> Verdict:
    """Reject a turn that marks who speaks, as in a play; with the other's name it speaks for both."""
    for name, reason in ((other, "speaks_for_both"), (speaker, "speaker_label")):
        if re.search(rf"(?:^|[.!?\s\"“]){re.escape(name)}\s*:", text, re.IGNORECASE):
            return Verdict.reject(reason, f"{name}:")
    return ACCEPTED


def no_narration(text: str, *, speaker: str) -> Verdict:
    """Reject a turn that tells instead of speaking: an action, 'she said', or the speaker's own name."""
    found = _STAGE_DIRECTION.search(text) or _TOLD.search(text)
    if found:
        return Verdict.reject("narration", found.group().strip())
    own_name = says_own_name(text, character=speaker)
    return Verdict.reject("names_its_speaker", own_name) if own_name else ACCEPTED


def speaks_to_the_other(text: str, *, other: str) -> Verdict:
    """Reject a turn that tells of the other instead of speaking to them: their name stands within a sentence.

    To be spoken to, a name is set off: "Bruno, look", "I know, Bruno." Somebody who only names the other is heard as
    telling a third of them.
    """
    words = split_words(other)
    names = [re.escape(word) for word in words if word not in TITLES] or [re.escape(word) for word in words[-1:]]
    if not names:
        return ACCEPTED
    title, name = "|".join(sorted(TITLES)), "|".join(names)
    pattern = rf"(?:\b(?:{title})\s+)*\b(?:{name})\b(?:\s+(?:{name})\b)*(?:['’]s)?"
    for found in re.finditer(pattern, text, re.IGNORECASE):
        before, after = text[: found.start()].rstrip(), text[found.end() :].lstrip()
        opens = not before or not before[-1].isalnum() or _CALLS.search(before)
        if not (opens and (not after or not after[0].isalnum())) or found.group().endswith(("'s", "’s")):
            return Verdict.reject("speaks_of_the_other", found.group())
    return ACCEPTED


def repeats_no_turn(text: str, *, earlier: Sequence[str]) -> Verdict:
    """Reject a turn that uses mostly the words of an earlier one."""
    words = set(split_words(text))
    for number, turn in enumerate(earlier):
        said = set(split_words(turn))
        if len(words & said) >= SHARED_WORDS * len(words | said):
            return Verdict.reject("repeats_a_turn", f"turn {number}")
    return ACCEPTED


def paraphrases_no_turn(text: str, *, earlier: Sequence[str], encoder: Encoder, similarity: float) -> Verdict:
    """Reject a turn that says what an earlier one said, by the cosine of their embeddings."""
    if not earlier:
        return ACCEPTED
    vectors = encoder.encode([text, *earlier])
    cosines = vectors[1:] @ vectors[0]
    closest = int(cosines.argmax())
    if cosines[closest] >= similarity:
        return Verdict.reject("paraphrases_a_turn", f"turn {closest}, cosine {cosines[closest]:.2f}")
    return ACCEPTED


def ends_properly(text: str, *, is_last: bool) -> Verdict:
    """Reject a last turn that leaves a question open."""
    if is_last and text.rstrip("\"'”’").endswith("?"):
        return Verdict.reject("ends_open", "the last turn asks")
    return ACCEPTED


def turn_gates(
    *,
    speaker: str,
    other: str,
    earlier: Sequence[str],
    is_last: bool,
    source: str,
    synonyms: Sequence[str],
    language: str,
    prompt: str,
    strangers: Sequence[str],
    bounds: GateBounds,
    encoder: Encoder,
    similarity: float,
) -> list[Gate]:
    """Gates for a turn, the cheapest and most telling first.

    `earlier` are the turns before it, `source` what it must not copy (the section, the situation), `prompt` the
    constant part of the prompt and `strangers` the people in its examples.
    """
    return [
        partial(one_speaker, speaker=speaker, other=other),
        no_residue,
        no_model_talk,
        no_personal_data,
        partial(right_length, fewest=bounds.min_words, most=bounds.max_words),
        complete,
        no_repetition,
        partial(no_narration, speaker=speaker),
        partial(speaks_to_the_other, other=other),
        partial(names_no_label, synonyms=synonyms),
        partial(ends_properly, is_last=is_last),
        partial(repeats_no_turn, earlier=earlier),
        partial(copies_nothing, source="\n".join(earlier), n=REPEATED_NGRAM, reason="repeats_a_turn"),
        partial(copies_nothing, source=source, n=bounds.copied_ngram),
        partial(copies_nothing, source=prompt, n=bounds.copied_ngram, reason="prompt_residue"),
        partial(no_stranger, strangers=strangers, source=f"{source} {speaker} {other}"),
        partial(right_language, language=language),
        partial(paraphrases_no_turn, earlier=earlier, encoder=encoder, similarity=similarity),
    ]
