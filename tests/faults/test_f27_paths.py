# SPDX-License-Identifier: Apache-2.0
"""Titles, ids, names and configs such as `../../x`, `/abs`, `CON`, NUL or 5,000 characters, and links in the folder:
none is ever a path, ids are ours, links are refused, and only listed files are published."""

import json
import re
import shutil
from pathlib import Path

import pytest

from flows.manifest import read_manifest, verify_release
from flows.publishing import publish
from flows.recipe import load_recipe
from flows.sealed import seal
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from validators.errors import AffectoryError, GateError, InputError, StorageError

pytestmark = pytest.mark.fault

NAMES = [
    "../../x",
    "/etc/affectory",
    "CON",
    "a/b",
    "a_b",
    "..",
    "nul\x00byte",
    "x" * 5000,
    "C:\\x",
    "~root",
    "$HOME",
    "-rf",
    "\u202egnp.exe",
    "a\nb",
    " ",
]
TEXT = "Marta came down to the harbour before dawn and waited for the boat of Pavel. "
IDS = {
    "work/plan/part-*.parquet": ("utterance_id", r"u-\d{5}-\d{4}"),
    "work/dialogue_plan/part-*.parquet": ("dialogue_id", r"d-\d{5}-\d{4}"),
    "work/evidence/part-*.parquet": ("story_id", r"s-[0-9a-f]{12}"),
}


def write_stories(folder: Path) -> str:
    lines = [
        {"id": name, "title": name, "source": name, "licence": "CC0-1.0", "text": TEXT * (6 + number)}
        for number, name in enumerate(NAMES)
    ]
    (folder / "stories.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"stories={{path: {folder / 'stories.jsonl'}}}"


def test_names_from_outside_are_data_and_never_paths(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, rows=20, extra=DIALOGUES.replace("18", "4"))
    stories = write_stories(tmp_path)
    output = tmp_path / "out"
    build_in_turn(recipe, output, *READ, stories, "gates.max_reason_share=1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["echo.yaml", "out", "stories.jsonl"]
    for path in output.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", path.name), path
    for pattern, (column, shape) in IDS.items():
        found = [row[column] for row in rows(output, pattern)]
        assert found
        assert all(re.fullmatch(shape, one) for one in found)
    assert verify_release(output) == []
    titles = {row["title"] for row in rows(output)}
    assert {"../../x", "a/b", "a_b"} & titles  # kept as they are, and apart


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"a_b"}])
def test_no_such_name_is_taken_for_a_run_or_a_writer(tmp_path: Path, name: str) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(InputError):
        load_recipe(recipe, [f"name={json.dumps(name)}"])
    assert [path.name for path in tmp_path.iterdir()] == ["echo.yaml"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    recipe, output = write_recipe(folder, rows=8), folder / "out"
    build_in_turn(recipe, output)
    return recipe, output


@pytest.mark.parametrize("place", ["data/utterances/train-00000-of-00001.parquet", "README.md", "data/utterances"])
def test_a_link_in_a_release_is_told_and_never_followed(
    finished: tuple[Path, Path], tmp_path: Path, place: str
) -> None:
    recipe, output = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    (output / place).rename(elsewhere)
    (output / place).symlink_to(elsewhere)
    assert any("symbolic link" in problem for problem in verify_release(output))
    with pytest.raises(GateError, match="symbolic link"):
        publish(output, "me/x")
    before = {path: path.read_bytes() for path in [elsewhere, *elsewhere.rglob("*")] if path.is_file()}
    with pytest.raises(StorageError, match="symbolic link"):
        build_in_turn(recipe, output)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("stranger", ["data/utterances/notes.txt", "data/.env", "data/x/train-00000-of-00001.parquet"])
def test_a_file_that_nobody_listed_is_not_published(finished: tuple[Path, Path], tmp_path: Path, stranger: str) -> None:
    output = shutil.copytree(finished[1], tmp_path / "out")
    (output / stranger).parent.mkdir(exist_ok=True)
    (output / stranger).write_bytes(b"TOKEN=1")
    with pytest.raises(GateError, match="not in the manifest"):
        publish(output, "me/x")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "data/../../x", "data/utterances/x.parquet", ".git/config"])
def test_a_manifest_that_leads_elsewhere_is_refused(finished: tuple[Path, Path], tmp_path: Path, path: str) -> None:
    output = shutil.copytree(finished[1], tmp_path / "out")
    content = read_manifest(output).model_dump(mode="json")
    content["files"][0]["path"] = path
    (output / "manifest.json").write_bytes(seal(content))
    assert verify_release(output)
    with pytest.raises(AffectoryError):
        publish(output, "me/x")
