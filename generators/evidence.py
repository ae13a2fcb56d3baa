# SPDX-License-Identifier: Apache-2.0
"""Which character of a section has cause for which emotion: one call per section.

A small model writes what it is asked for in 8 of 10 cases when the section gives cause for the emotion, and in 5 of 10
on random pairs; so only pairs found here (or given with the story) are ever asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from generators.characters import present
from generators.chat import ChatReply
from generators.conversations import Conversation, ask
from generators.parsing import Reply, array, clean_line, parse_reply, storable, string, structure
from generators.prompts import fence, load_prompt
from validators.records import Evidence, Story
from validators.verdicts import ACCEPTED, Verdict

MAX_FEELINGS = 3  # per section of about 130 words; more than that is made up


class FeelingReply(Reply):
    """One pair in the model's answer."""

    character: str
    cause: str
    emotion: str


class EvidenceReply(Reply):
    """What the model answers."""

    feelings: list[FeelingReply]


@dataclass(frozen=True, slots=True)
class SectionEvidence:
    """What became of one section: pairs, or the verdict why there are none."""

    story_id: str
    section: int
    pairs: tuple[Evidence, ...]
    verdict: Verdict
    reply: str
    seed: int


def find_evidence(
    story: Story, section: int, characters: list[str], labels: Sequence[str], *, seed: int, temperature: float
) -> Conversation[SectionEvidence]:
    """Ask once who feels what in a section; the schema allows only verified characters and the labels that are wanted.

    Whatever else they feel feeds no row: asked for 28 labels where 12 are wanted, half of the pairs are for nothing.
    """

    def ended(verdict: Verdict, reply: ChatReply | None, *pairs: Evidence) -> SectionEvidence:
        return SectionEvidence(story.story_id, section, pairs, verdict, storable(reply.text) if reply else "", seed)

    text = story.sections[section]
    who = present(characters, text)
    if not who:
        return ended(Verdict.reject("no_character_present", "no known character in the section"), None)
    feeling = structure(character=string(40, choices=who), cause=string(120), emotion=string(40, choices=list(labels)))
    reply = yield from ask(
        load_prompt("evidence").request(
            {"passage": fence(text), "characters": ", ".join(who)},
            schema=structure(feelings=array(feeling, fewest=2, most=MAX_FEELINGS)),
            max_tokens=190,
            temperature=temperature,
            seed=seed,
        )
    )
    answer = parse_reply(reply, EvidenceReply)
    if isinstance(answer, Verdict):
        return ended(answer, reply)
    pairs: dict[tuple[str, str], Evidence] = {}
    for found in answer.feelings:
        cause = clean_line(found.cause)
        if found.character in who and found.emotion in labels and cause:
            pair = Evidence(
                story_id=story.story_id,
                section=section,
                character=found.character,
                label=found.emotion,
                cause=cause,
                origin="model",
            )
            pairs.setdefault((found.character, found.emotion), pair)
    if not pairs:
        return ended(Verdict.reject("no_evidence", "no pair of a present character and a known label"), reply)
    return ended(ACCEPTED, reply, *pairs.values())
