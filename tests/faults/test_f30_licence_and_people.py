# SPDX-License-Identifier: Apache-2.0
"""A story, writer or voice of a licence that does not let everybody pass it on, and addresses, telephone or card
numbers in the rows: the build goes on and rejects lines with personal data, publishing refuses with a list, which never
repeats what it found, until somebody allows it by name."""

from pathlib import Path

import pytest

from flows.manifest import read_manifest
from flows.release_audit import audit_release
from tests.flows.builds import STORIES, build_in_turn, rows, write_recipe
from tests.flows.test_speech import SPEECH
from validators.personal_data import kinds_of_personal_data, no_personal_data

pytestmark = pytest.mark.fault

PEOPLE = {
    "email": ["ida.marek@example.org", "write to a+b@sub.example.co.uk, please"],
    "phone": ["+44 20 7946 0958", "(212) 555-0142", "212-555-0142"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
}
PROSE = ["in 1914 and 1939", "at ten @ the mill", "100 000 crowns", "4111 1111 1111 1112", "12.5 or 3-4 of them"]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PEOPLE.items() for text in texts])
def test_each_kind_is_found_and_named_without_being_told(kind: str, text: str) -> None:
    assert kinds_of_personal_data(f"I said: {text}!") == [kind]
    verdict = no_personal_data(f"I said: {text}!")
    assert verdict.reason == "personal_data"
    assert not any(part in verdict.detail for part in text.split() if len(part) > 2)


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_none(text: str) -> None:
    assert no_personal_data(text).accepted


def findings(root: Path, *allow: str) -> list[str]:
    return [str(one) for one in audit_release(root, read_manifest(root), allow=allow)]


def stories_with(folder: Path, old: str, new: str) -> str:
    """The stories that come with the package, with another word in what they say of themselves."""
    (folder / "stories").mkdir()
    for path in sorted(STORIES.glob("*.md"))[:4]:
        (folder / "stories" / path.name).write_text(path.read_text(encoding="utf-8").replace(old, new, 1))
    return f"stories.path={folder / 'stories'}"


@pytest.mark.parametrize(
    ("writer", "story", "licence"),
    [
        ("CC-BY-NC-4.0", "CC0-1.0", "CC-BY-NC-4.0"),
        ("research only", "CC0-1.0", "research only"),
        ("MIT", "all rights reserved", "all rights reserved"),
    ],
)
def test_a_licence_that_binds_is_refused_until_it_is_allowed(
    tmp_path: Path, writer: str, story: str, licence: str
) -> None:
    stories = stories_with(tmp_path, "licence: CC0-1.0", f"licence: {story}")
    settings = (stories, f"writer.licence={writer}", "utterances.contextual_rows=0")
    build_in_turn(write_recipe(tmp_path, rows=8), tmp_path / "out", *settings)
    found = findings(tmp_path / "out")
    assert any(licence in one and one.startswith("licence: ") for one in found)
    assert findings(tmp_path / "out", licence.upper()) == []


def test_people_in_the_source_of_rows_are_told_by_row_and_column(tmp_path: Path) -> None:
    sources = [texts[0] for texts in PEOPLE.values()]
    stories = stories_with(tmp_path, "source: Affectory", f"source: {' and '.join(sources)}")
    settings = (stories, "writer.licence=MIT", "utterances.contextual_rows=0")
    build_in_turn(write_recipe(tmp_path, rows=8), tmp_path / "out", *settings)
    found = findings(tmp_path / "out")
    assert {one.split(":")[0] for one in found} == {"email", "phone", "card"}
    assert all("row" in one and "source" in one for one in found)
    assert not any(source in one for one in found for source in sources)
    assert {one.split(":")[0] for one in findings(tmp_path / "out", "email", "phone")} == {"card"}


def test_a_clip_names_the_licence_of_its_voice(tmp_path: Path) -> None:
    settings = ("writer.licence=MIT", "utterances.contextual_rows=0")
    build_in_turn(write_recipe(tmp_path, rows=3, extra=SPEECH), tmp_path / "out", *settings)
    assert {row["voice_licence"] for row in rows(tmp_path / "out", "data/clips/*.parquet")} == {"Apache-2.0"}
    assert findings(tmp_path / "out") == []
