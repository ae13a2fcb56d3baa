# SPDX-License-Identifier: Apache-2.0
"""Read the stories that a recipe names, cut into sections, whatever form they come in."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.fairytaleqa import read_fairytaleqa
from flows.recipe import Recipe, load_taxonomy
from flows.sections import cut_blocks
from flows.tables import MAX_STORY_BYTES, TABLES, TableRow, decode, hub_rows, table_rows
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.records import Feeling, Story
from validators.text import has_letters, normalise_text

log = logging.getLogger(__name__)

TEXTS = (".txt", ".md")

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(
    r"^ {0,3}#{1,6}(?:[ \t]+(?P<atx>.*?))?(?:[ \t]+#+)?[ \t]*$"  # ## Title ##
    r"|^(?P<setext>[^\n]*\S[^\n]*)\n {0,3}(?:=+|-{2,})[ \t]*$"  # a title with a line under it
    r"|^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$",  # a line between scenes
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A story before it is cut: its chapters, and what is said about it, all as found."""

    where: str
    title: str
    chapters: tuple[str, ...]
    source: str | None = None
    licence: str | None = None
    language: str | None = None


def read_stories(recipe: Recipe) -> list[Story]:
    """Read all stories in an order that depends on their texts and the seed alone, each text once."""
    settings = recipe.stories
    limit = settings.limit
    if settings.fairytaleqa is not None:
        found = iter(_fairytaleqa_stories(recipe, settings.fairytaleqa))
    elif settings.hub is not None:
        found = _stories(recipe, _table_drafts(recipe, hub_rows(recipe)), skip_empty=True)
    else:
        found = _stories(recipe, _path_drafts(recipe, recipe.resolve(settings.path or "")), skip_empty=False)
    stories: dict[str, Story] = {}
    n_duplicates = 0
    for story in found:
        n_duplicates += story.story_id in stories
        stories.setdefault(story.story_id, story)
        if limit is not None and settings.hub is not None and len(stories) == limit and not settings.columns.section:
            break  # these rows come shuffled already; there may be millions more
    if n_duplicates:
        log.warning("%d stories have the same text as another and were dropped", n_duplicates)
    if not stories:
        raise recipe.error(("stories",), "no story was found: check path or split")
    return sorted(stories.values(), key=lambda story: _shuffled(recipe.seed, story.story_id))[:limit]


def stories_sha256(stories: Iterable[Story]) -> str:
    """Hash all that the stories say, in their order."""
    digest = hashlib.sha256()
    for story in stories:
        line = json.dumps(story.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def story_id(text: str) -> str:
    """Name a story by its normalised text."""
    return f"s-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def make_story(recipe: Recipe, draft: Draft, sections: Sequence[str], feelings: Sequence[Feeling] = ()) -> Story:
    """Complete a story with what the recipe says where the file is silent."""
    licence = draft.licence or recipe.stories.licence
    if not licence:
        raise InputError(
            f"The story '{draft.title}' has no licence.",
            where=draft.where,
            next_step="Set stories.licence in the recipe, or a licence in the file or its own column.",
        )
    return Story(
        story_id=story_id("\n\n".join(sections)),
        title=normalise_text(draft.title) or "untitled",
        source=draft.source or recipe.stories.source or draft.title,
        licence=licence,
        language=draft.language or recipe.stories.language,
        sections=tuple(sections),
        feelings=tuple(feelings),
    )


def _shuffled(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
