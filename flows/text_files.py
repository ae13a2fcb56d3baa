# SPDX-License-Identifier: Apache-2.0
"""Stories in a folder of text and Markdown files, one file a story."""

import re
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.annotations import read_annotations
from flows.drafts import Draft, check_size
from flows.tables import TABLES, decode
from validators.errors import InputError

TEXTS = (".txt", ".md")

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
MAX_FRONT_MATTER = 20_000  # characters; beyond, the two --- lines are scene breaks of a long text


def read_folder(folder: Path) -> Iterator[Draft]:
    """Read all text files below a folder in the order of their names; hidden ones are passed over."""
    found = files_below(folder)
    files = [file for file in found if file.suffix.lower() in TEXTS]
    if not files:
        tables = [file.name for file in found if file.suffix.lower() in TABLES]
        raise InputError(
            f"The story folder {folder} holds no .txt or .md file.",
            where=str(folder),
            next_step=f"Name the table {tables[0]} itself in stories.path."
            if tables
            else "Put your stories there, one file each, or name another folder in stories.path.",
        )
    for file in files:
        yield read_file(file, file.relative_to(folder))


def files_below(folder: Path) -> list[Path]:
    """List the files below a folder, sorted; refuse a link that leads out of it."""
    root = folder.resolve()
    files: list[Path] = []
    for file in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise InputError(
                "A link leads out of the story folder.",
                where=str(file),
                next_step="Copy the file itself, or remove the link.",
            )
        if file.is_file():
            files.append(file)
    return files


def read_file(file: Path, name: Path) -> Draft:
    """Read one text or Markdown file, its headings taken as the borders of chapters."""
    check_size(file.stat().st_size, str(file))
    text = decode(file.read_bytes(), str(file)).replace("\r\n", "\n").replace("\r", "\n")
    title = re.sub(r"[-_\s]+", " ", file.stem).strip()
    if file.suffix.lower() == ".txt":
        return Draft(str(file), title, (text,), source=name.as_posix())
    front, text = _front_matter(text, file)
    about = {key: value.strip() for key, value in front.items() if isinstance(value, str) and value.strip()}
    heading, chapters = _chapters(text)
    return Draft(
        where=str(file),
        title=about.get("title") or heading or title,
        chapters=chapters,
        source=about.get("source"),
        licence=about.get("licence") or about.get("license"),
        language=about.get("language"),
        annotations=read_annotations(front["feelings"], str(file)) if "feelings" in front else (),
    )


def _front_matter(text: str, file: Path) -> tuple[dict[str, object], str]:
    """Split the YAML block between two --- lines from the text; what is no such block is text."""
    found = _FRONT_MATTER.match(text)
    if found is None or len(found[1]) > MAX_FRONT_MATTER:
        return {}, text
    try:
        about = YAML(typ="safe", pure=True).load(found[1])
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(
            "The front matter of a story is not YAML.",
            where=str(file),
            next_step="Write lines such as 'title: The Fox' between the two --- lines.",
        ) from error
    if not isinstance(about, dict):
        return {}, text
    return {str(key).lower(): value for key, value in about.items()}, text[found.end() :]


def _chapters(text: str) -> tuple[str, tuple[str, ...]]:
    """Find the first heading of a Markdown text, and cut the text at its headings and rules, which are left out.

    Line by line: a pattern for all of Markdown's headings takes minutes on a line of stars.
    """
    first = ""
    chapters: list[list[str]] = [[]]
    for line in text.split("\n"):
        lines = chapters[-1]
        heading = _atx_heading(line)
        if heading is None and _underlines(line, lines):
            heading = lines.pop().strip()
        if heading is None and not _is_rule(line):
            lines.append(line)
            continue
        first = first or heading or ""
        chapters.append([])
    return first, tuple("\n".join(lines) for lines in chapters)


def _atx_heading(line: str) -> str | None:
    """Give the title of a line such as '## Title ##'."""
    start = line.lstrip(" ")
    title = start.lstrip("#")
    is_heading = len(line) - len(start) <= 3 and 1 <= len(start) - len(title) <= 6 and title[:1] in {"", " ", "\t"}
    return title.strip().rstrip("#").strip() if is_heading else None


def _underlines(line: str, above: list[str]) -> bool:
    """Whether a line of = or - stands under a title, which is a paragraph of one line."""
    mark = line.strip()
    has_title = bool(above) and bool(above[-1].strip()) and (len(above) == 1 or not above[-2].strip())
    return has_title and bool(mark) and (not mark.strip("=") or not mark.strip("-"))


def _is_rule(line: str) -> bool:
    """Whether a line such as '* * *' parts two scenes."""
    marks = "".join(line.split())
    return len(marks) >= 3 and marks[0] in "*-_" and not marks.strip(marks[0])
