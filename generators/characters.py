# SPDX-License-Identifier: Apache-2.0
"""Who acts in a story: one call per story, each name verified to occur in the text."""

from generators.chat import ChatReply
from generators.conversations import Conversation, ask
from generators.parsing import Reply, array, clean_line, parse_reply, string, structure
from generators.prompts import fence, load_prompt
from validators.gates import TITLES, split_words
from validators.records import Story
from validators.text import words
from validators.verdicts import ACCEPTED, Verdict

MAX_CHARACTERS = 12  # beyond, small models list props and crowds
EXCERPT_WORDS = 400  # about 550 tokens: the beginning of every section names who is in it, and reading costs time


class CharactersReply(Reply):
    """What the model answers."""

    characters: list[str]


def list_characters(
    story: Story, *, seed: int, temperature: float
) -> Conversation[tuple[list[str], Verdict, ChatReply]]:
    """Ask once who acts in the story; returns the verified names, a verdict on the reply and the reply."""
    reply = yield from ask(
        load_prompt("characters").request(
            {"story": fence(excerpt(story))},
            schema=structure(characters=array(string(40), fewest=1, most=MAX_CHARACTERS)),
            max_tokens=160,
            temperature=temperature,
            seed=seed,
        )
    )
    answer = parse_reply(reply, CharactersReply)
    if isinstance(answer, Verdict):
        return [], answer, reply
    text = " ".join(story.sections)
    verified: dict[str, str] = {}
    for name in (clean_line(name) for name in answer.characters):
        if occurs(name, text):
            verified.setdefault(name.lower(), name)
    if not verified:
        return [], Verdict.reject("no_character_in_text", "none of the names occurs in the story"), reply
    return list(verified.values()), ACCEPTED, reply


def occurs(name: str, text: str) -> bool:
    """Whether the words of a name stand in the text, one after the other (articles aside)."""
    wanted = split_words(name)
    while wanted and wanted[0] in {"the", "a", "an"}:
        wanted = wanted[1:]
    found = split_words(text)
    return bool(wanted) and any(
        found[start : start + len(wanted)] == wanted for start in range(len(found) - len(wanted) + 1)
    )


def present(characters: list[str], section: str) -> list[str]:
    """The characters whose name, or one word of it ('Marek' of 'old Marek'), stands in a section."""
    found = set(split_words(section))
    return [name for name in characters if occurs(name, section) or found.intersection(set(split_words(name)) - TITLES)]


def excerpt(story: Story) -> str:
    """The story, or of a long one the beginnings of its sections, within `EXCERPT_WORDS` words."""
    n_words = sum(len(words(section)) for section in story.sections)
    if n_words <= EXCERPT_WORDS:
        return "\n\n".join(story.sections)
    step = -(-len(story.sections) * 30 // EXCERPT_WORDS)  # at least 30 words each, so not from every section
    chosen = story.sections[:: max(1, step)]
    share = EXCERPT_WORDS // len(chosen)
    return "\n\n".join(" ".join(words(section)[:share]) for section in chosen)
