# SPDX-License-Identifier: Apache-2.0
"""FairytaleQA: 278 fairy tales cut by people, with people's answers to 'How did the fox feel?' as feelings."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flows.drafts import Draft, make_story
from flows.recipe import Recipe
from flows.sections import cut_sections
from flows.tables import Row, csv_rows
from flows.text_files import files_below
from validators.answers import label_for, stems
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.records import Feeling, Story
from validators.taxonomy import Taxonomy
from validators.text import count_words, has_letters, normalise_text

HOME = "https://github.com/uci-soe/FairytaleQAData"

STORIES, QUESTIONS = "section-stories", "questions"

# People cut where a scene ends: keep their section unless it is far too long for a prompt.
KEEP_FACTOR = 2

_DID = r"(?:did|does|do|will|would|was|were|is|are|had|has)"
_HOW = re.compile(rf"how {_DID} (?P<who>.+?) (?:feel|feels|feeling|felt)\b(?P<tail>.*)", re.IGNORECASE)
_WHAT = re.compile(rf"what {_DID} (?P<who>.+?) feel\b(?P<tail>.*)", re.IGNORECASE)
_WHY = re.compile(r"why (?:was|were|is|are|did|does|do) (?P<who>.+?) (?:feel )?(?P<word>[a-z]+)\W*", re.IGNORECASE)

_PRONOUNS = frozenset({"he", "she", "it", "they", "him", "her", "them", "you", "we", "i", "this", "that", "everyone"})
_BEGIN = re.compile(r" (?:begin|start|come|seem) to$", re.IGNORECASE)
# 'the boy not', 'the men who would': the question asks something else, or we would cut a name in two
_NO_CHARACTER = re.compile(r"\b(?:not|to|if|that|who)\b|\b(?:when|after|because|while|who)\b", re.IGNORECASE)
_MAKE = re.compile(r".+\bmakes? (?P<who>.+)", re.IGNORECASE)
_MOST_CHARACTER_WORDS = 8

_CAUSE = re.compile(
    r"(?:after|when|while|as|because|since|before|during|about|towards?|for|that|once|upon|at|with|in|on|by|if|until|"
    r"to|over|from|of|having|being|\w{2,}ing)\s\S.*",
    re.IGNORECASE,
)


def read_fairytaleqa(recipe: Recipe, folder: Path, taxonomy: Taxonomy) -> tuple[list[Story], Counter[str]]:
    """Read all stories, and count what became of the questions about feelings: "kept" or why not."""
    stories: list[Story] = []
    counts: Counter[str] = Counter()
    for story_file, question_file in _pairs(folder):
        story, outcomes = _read_story(recipe, story_file, question_file, taxonomy)
        stories.append(story)
        counts += outcomes
    return stories, counts


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Pair each story with its questions; the folder is the repository's, or its data-by-origin."""
    root = folder / "data-by-origin" if (folder / "data-by-origin").is_dir() else folder
    files = {file.relative_to(root).as_posix(): file for file in files_below(root)} if root.is_dir() else {}
    found = [name for name in files if name.startswith(f"{STORIES}/") and name.endswith("-story.csv")]
    if not found:
        raise InputError(
            f"{folder} is not the FairytaleQA folder: it holds no {STORIES}/*/*-story.csv.",
            where=str(folder),
            next_step=f"Clone {HOME} and name the folder of the clone in stories.fairytaleqa.",
        )
    for name in found:
        questions = name.replace(STORIES, QUESTIONS, 1).removesuffix("-story.csv") + "-questions.csv"
        if questions not in files:
            raise InputError(
                f"The questions of {name} are missing.", where=str(root / questions), next_step=f"Clone {HOME} again."
            )
        yield files[name], files[questions]


def _read_story(
    recipe: Recipe, story_file: Path, question_file: Path, taxonomy: Taxonomy
) -> tuple[Story, Counter[str]]:
    human = {number: text for number, text in _human_sections(story_file) if has_letters(text)}
    if not human:
        raise InputError("The story is empty.", where=str(story_file), next_step="Restore the file, or remove it.")
    pieces: list[str] = []
    places: dict[str, range] = {}  # where the pieces of a human section stand
    for number, text in human.items():
        longest = recipe.stories.section_words
        cut = (text,) if count_words(text) <= KEEP_FACTOR * longest else cut_sections(text, longest)
        places[number] = range(len(pieces), len(pieces) + len(cut))
        pieces += cut
    feelings: list[Feeling] = []
    counts: Counter[str] = Counter()
    for where, row in csv_rows(question_file):
        _need(row, ("attribute1", "cor_section", "question", "answer1"), where)
        if str(row["attribute1"]).strip() != "feeling":
            continue
        feeling, outcome = _feeling(row, places, pieces, taxonomy)
        if feeling is not None and any(_same(feeling, other) for other in feelings):
            feeling, outcome = None, "asked twice"
        counts[outcome] += 1
        if feeling is not None:
            feelings.append(feeling)
    title = re.sub(r"[-_\s]+", " ", story_file.name.removesuffix("-story.csv")).strip()
    source = f"FairytaleQA, {story_file.parent.name}/{story_file.name}"
    draft = Draft(str(story_file), title, tuple(human.values()), source=source)
    return make_story(recipe, draft, pieces, feelings), counts


def _human_sections(file: Path) -> Iterator[tuple[str, str]]:
    for where, row in csv_rows(file):
        _need(row, ("section", "text"), where)
        yield str(row["section"]).strip(), normalise_text(str(row["text"] or ""))


def _need(row: Row, columns: Sequence[str], where: str) -> None:
    for column in columns:
        if column not in row:
            hint = did_you_mean(column, [str(known) for known in row])
            raise InputError(f"Column '{column}' is missing. {hint}", where=where, next_step=f"Clone {HOME} again.")


def _feeling(
    row: Row, places: Mapping[str, range], pieces: Sequence[str], taxonomy: Taxonomy
) -> tuple[Feeling | None, str]:
    """Turn a question and its answers into a feeling, or say why not."""
    first_number = re.match(r"\s*(\d+)", str(row["cor_section"]))
    place = places.get(first_number[1]) if first_number else None
    if place is None:
        return None, "no such section"
    answers = [normalise_text(str(row.get(f"answer{number}") or "")) for number in range(1, 7)]
    asked = parse_question(normalise_text(str(row["question"])), [answer for answer in answers if answer])
    if asked is None:
        return None, "question not understood"
    character, words, cause = asked
    label = label_for(words, taxonomy.synonyms)
    if label is None:
        return None, "answers name no label"
    section = _closest(place, pieces, f"{character} {cause}")
    return Feeling(section=section, character=character, label=label, cause=cause), "kept"


def parse_question(question: str, answers: Sequence[str]) -> tuple[str, Sequence[str], str] | None:
    """Find the character, the words that name the feeling, and its cause ('' if the question does not tell)."""
    question = question.strip().rstrip("?.! ")
    if found := _HOW.fullmatch(question) or _WHAT.fullmatch(question):
        character = _character(found["who"])
        return (character, answers, _cause(found["tail"])) if character else None
    if found := _WHY.fullmatch(question):
        # here the question names the feeling, and the answer its cause
        character = _character(found["who"])
        cause = answers[0].rstrip(". ") if answers else ""
        return (character, [found["word"]], f"because {cause[:1].lower()}{cause[1:]}") if character and cause else None
    return None


def _character(who: str) -> str | None:
    if made := _MAKE.fullmatch(who):
        who = made["who"]
    who = _BEGIN.sub("", who.strip(" \"'“”"))
    if who.lower() in _PRONOUNS or _NO_CHARACTER.search(who) or count_words(who) > _MOST_CHARACTER_WORDS:
        return None
    return who or None


def _cause(tail: str) -> str:
    tail = re.sub(r"^to (?=about|towards?|when|after)", "", tail.strip(" ,;:"))
    return tail if _CAUSE.fullmatch(tail) else ""


def _closest(place: range, pieces: Sequence[str], about: str) -> int:
    """Of the pieces of one human section, find the one that shares the most words with the question."""
    if len(place) == 1:
        return place[0]
    wanted = set(stems(about))
    return max(place, key=lambda index: (len(wanted & set(stems(pieces[index]))), -index))


def _same(one: Feeling, other: Feeling) -> bool:
    def key(feeling: Feeling) -> tuple[int, str, str]:
        return feeling.section, feeling.character.lower(), feeling.label

    return key(one) == key(other)
