# SPDX-License-Identifier: Apache-2.0
"""A story on its way in: its chapters as found, before it is cut and checked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from flows.recipe import Recipe
from validators.errors import InputError
from validators.records import Feeling, Record, Story, Text
from validators.text import has_letters, normalise_text

MAX_STORY_BYTES = 5_000_000  # ten long novels; more is a mistake, such as a whole library in one file


class Annotation(Record):
    """What the author says that a character feels: where (words of the story), who, what, and why, told to them."""

    at: Text
    who: Text
    feels: Text
    because: Text


@dataclass(frozen=True, slots=True)
class Draft:
    """The chapters of a story, and what the file itself says about it; `where` names the file for an error."""

    where: str
    title: str
    chapters: tuple[str, ...]
    source: str | None = None
    licence: str | None = None
    language: str | None = None
    annotations: tuple[Annotation, ...] = ()

    def normalised(self) -> Self:
        """Bring all chapters into the form that is stored; refuse a story without text or beyond all size."""
        check_size(sum(len(chapter.encode(errors="replace")) for chapter in self.chapters), self.where)
        chapters = tuple(normalise_text(chapter) for chapter in self.chapters)
        return replace(self, chapters=tuple(chapter for chapter in chapters if has_letters(chapter)))


def check_size(n_bytes: int, where: str) -> None:
    """Refuse a story of more than 5 MB."""
    if n_bytes > MAX_STORY_BYTES:
        raise InputError(
            f"A story is larger than {MAX_STORY_BYTES // 1_000_000} MB.",
            where=where,
            next_step="Split it into several stories; one file or row is one story.",
        )


def make_story(recipe: Recipe, draft: Draft, sections: Sequence[str], feelings: Sequence[Feeling] = ()) -> Story:
    """Complete a normalised draft with its sections, and with what the recipe says where the file is silent."""
    licence = draft.licence or recipe.stories.licence
    if not licence:
        raise InputError(
            f"The story '{draft.title}' has no licence.",
            where=draft.where,
            next_step="Set stories.licence in the recipe, or give the licence in the file or in its own column.",
        )
    # made from the text before it is cut, so that another section_words does not make another story
    text = "\n\n".join(draft.chapters)
    return Story(
        story_id=f"s-{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        title=normalise_text(draft.title) or "untitled",
        source=draft.source or recipe.stories.source or draft.title or draft.where,
        licence=licence,
        language=draft.language or recipe.stories.language,
        sections=tuple(sections),
        feelings=tuple(feelings),
    )
