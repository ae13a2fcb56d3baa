# SPDX-License-Identifier: Apache-2.0
"""Stories in a folder of text and Markdown files, one file a story."""

import re
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.drafts import Draft, check_size
from flows.tables import TABLES, decode
from validators.errors import InputError

TEXTS = (".txt", ".md")

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(
    r"^ {0,3}#{1,6}(?:[ \t]+(?P<atx>[^\n]*?))?(?:[ \t]+#+)?[ \t]*$"  # ## Title ##
    r"|^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$"  # a line between scenes
    r"|^(?<![^\n]\n)(?P<setext>[^\n]*\S[^\n]*)\n {0,3}(?:=+|-+)[ \t]*$",  # a title with a line under it
    re.MULTILINE,
)


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
    about, text = _front_matter(text, file)
    heading = next(
        (found["atx"] or found["setext"] for found in _HEADING.finditer(text) if found[0].strip("*-_ \t")), None
    )
    return Draft(
        where=str(file),
        title=about.get("title") or heading or title,
        chapters=_chapters(text),
        source=about.get("source"),
        licence=about.get("licence") or about.get("license"),
        language=about.get("language"),
    )


def _front_matter(text: str, file: Path) -> tuple[dict[str, str], str]:
    """Split the YAML block between two --- lines from the text; what is no such block is text."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    try:
        about = YAML(typ="safe", pure=True).load(found[1])
    except (YAMLError, ValueError) as error:
        raise InputError(
            "The front matter of a story is not YAML.",
            where=str(file),
            next_step="Write lines such as 'title: The Fox' between the two --- lines.",
        ) from error
    if not isinstance(about, dict):
        return {}, text
    said = {str(key).lower(): value.strip() for key, value in about.items() if isinstance(value, str) and value.strip()}
    return said, text[found.end() :]


def _chapters(text: str) -> tuple[str, ...]:
    chapters: list[str] = []
    end = 0
    for heading in _HEADING.finditer(text):
        chapters.append(text[end : heading.start()])
        end = heading.end()
    return (*chapters, text[end:])
