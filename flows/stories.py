# SPDX-License-Identifier: Apache-2.0
"""Read the stories that a recipe names, cut into sections, whatever form they come in."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.annotations import place_feelings
from flows.drafts import Draft, make_story
from flows.fairytaleqa import read_fairytaleqa
from flows.recipe import Recipe, load_taxonomy
from flows.sections import cut_blocks
from flows.tables import TABLES, TableRow, hub_rows, table_rows
from flows.text_files import TEXTS, read_file, read_folder
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.records import Story

log = logging.getLogger(__name__)


def read_stories(recipe: Recipe) -> list[Story]:
    """Read all stories in an order that depends on their texts and the seed alone, each text once."""
    wanted = recipe.stories
    # rows of the Hub come shuffled where there is a limit; there may be millions more behind it
    enough = wanted.limit if wanted.hub is not None and wanted.columns.section is None else None
    stories: dict[str, Story] = {}
    n_same = 0
    for story in _all_stories(recipe):
        n_same += story.story_id in stories
        stories.setdefault(story.story_id, story)
        if len(stories) == enough:
            break
    if n_same:
        log.warning("%d stories have the same text as another one and were dropped", n_same)
    if not stories:
        raise recipe.error(("stories",), "holds no story with text: check path, columns and split")
    if wanted.path and wanted.evidence == "given" and not any(story.feelings for story in stories.values()):
        raise recipe.error(
            ("stories", "evidence"),
            "no story says what its characters feel: add `feelings` to the front matter of the files, or use 'model'",
        )
    in_order = sorted(stories.values(), key=lambda story: _place_in_shuffle(recipe.seed, story.story_id))
    return in_order[: wanted.limit]


def stories_sha256(stories: Iterable[Story]) -> str:
    """Hash all that the stories say, in their order."""
    digest = hashlib.sha256()
    for story in stories:
        line = json.dumps(story.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _place_in_shuffle(seed: int, story_id: str) -> str:
    """Shuffle by a hash, so that a new story never moves the others against each other."""
    return hashlib.sha256(f"{seed}:{story_id}".encode()).hexdigest()


def _all_stories(recipe: Recipe) -> Iterator[Story]:
    wanted = recipe.stories
    if wanted.fairytaleqa is not None:
        stories, counts = read_fairytaleqa(recipe, recipe.resolve(wanted.fairytaleqa), load_taxonomy(recipe))
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        log.info("questions about feelings: %s", told or "none")
        yield from stories
    elif wanted.hub is not None:
        yield from _hub_stories(recipe)
    else:
        for draft in _drafts(recipe, recipe.resolve(wanted.path or "")):
            story = _cut(recipe, draft)
            if story is None:
                raise InputError(
                    f"The story '{draft.title}' is empty.",
                    where=draft.where,
                    next_step="Fill it with text, or remove it.",
                )
            yield story


def _hub_stories(recipe: Recipe) -> Iterator[Story]:
    """Pass over empty rows: whoever reads a dataset of the Hub cannot correct it."""
    n_empty = 0
    for draft in _table_drafts(recipe, hub_rows(recipe)):
        story = _cut(recipe, draft)
        if story is None:
            n_empty += 1
        else:
            yield story
    if n_empty:
        log.warning("%d rows of %s hold no text and were passed over", n_empty, recipe.stories.hub)


def _cut(recipe: Recipe, draft: Draft) -> Story | None:
    """Cut a draft into sections, or find that there is nothing in it."""
    draft = draft.normalised()
    sections = cut_blocks(draft.chapters, recipe.stories.section_words)
    if not sections:
        return None
    # only where they are asked for: the labels are those of one taxonomy, the stories may serve others too
    asked = draft.annotations and recipe.stories.evidence != "model"
    return make_story(
        recipe, draft, sections, place_feelings(draft, sections, load_taxonomy(recipe).names) if asked else ()
    )


def _drafts(recipe: Recipe, path: Path) -> Iterator[Draft]:
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, sorted(beside)[:20])
        raise recipe.error(("stories", "path"), f"there is no file or folder {path}. {hint}")
    if path.suffix.lower() in TABLES:
        return _table_drafts(recipe, table_rows(recipe, path))
    if path.suffix.lower() in TEXTS:
        return iter([read_file(path, Path(path.name))])
    known = ", ".join((*TEXTS, *TABLES))
    raise recipe.error(("stories", "path"), f"{path.name} is of an unknown kind. Known: {known}, or a folder.")


def _table_drafts(recipe: Recipe, rows: Iterator[TableRow]) -> Iterator[Draft]:
    """Make one draft of each row, or of all rows of a title where the recipe names a column of sections."""
    if recipe.stories.columns.section is None:
        for row in rows:
            yield _draft([row])
        return
    by_title: dict[str | None, list[TableRow]] = {}
    for row in rows:
        by_title.setdefault(row.title, []).append(row)
    for title, parts in by_title.items():
        if title is None:
            raise InputError(
                "A row has no title, by which sections are joined.", where=parts[0].where, next_step="Add it."
            )
        yield _draft(_in_section_order(parts))


def _in_section_order(rows: list[TableRow]) -> list[TableRow]:
    """Sort by section number; sections that are no numbers stay in the order of the table."""
    if not all(row.section and row.section.isascii() and row.section.isdigit() for row in rows):
        return rows
    return sorted(rows, key=lambda row: int(row.section or 0))


def _draft(rows: list[TableRow]) -> Draft:
    first = rows[0]
    return Draft(
        where=first.where,
        title=first.title or Path(first.where).name,
        chapters=tuple(row.text for row in rows),
        # said once, it holds for all rows of the story
        source=next((row.source for row in rows if row.source), None),
        licence=next((row.licence for row in rows if row.licence), None),
        language=next((row.language for row in rows if row.language), None),
    )
