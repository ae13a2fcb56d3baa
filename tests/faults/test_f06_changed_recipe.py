# SPDX-License-Identifier: Apache-2.0
"""The same folder with another recipe: what would change a row is refused key by key and nothing is touched; what only
changes the speed goes on without a call; more rows go on from those that are there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.builds import STORIES, build_in_turn, write_recipe
from tests.flows.shards import content
from validators.errors import RecipeMismatchError

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    recipe, output = write_recipe(folder, rows=12), folder / "out"
    build_in_turn(recipe, output)
    return recipe, output


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("seed=8", "seed: 7 -> 8"),
        ("taxonomy=canonical", 'taxonomy: "goemotions" -> "canonical"'),
        ("writer.name=other", 'writer.name: null -> "other"'),
        ("writer.temperature=0.7", "writer.temperature: 0.8 -> 0.7"),
        ("encoder.name=other", 'encoder.name: null -> "other"'),
        ("reader={backend: echo}", 'reader.backend: "none" -> "echo"'),
        ("shard_rows=8", "shard_rows: 16 -> 8"),
        ("gates.max_words=44", "gates.max_words: 45 -> 44"),
        ("duplicates.similarity=0.8", "duplicates.similarity: 0.9 -> 0.8"),
        ("splits={train: 1.0, validation: 0, test: 0}", "splits.train: 0.8 -> 1.0"),
    ],
)
def test_what_would_change_a_row_is_refused(finished: tuple[Path, Path], setting: str, key: str) -> None:
    recipe, output = finished
    before = content(output)
    with pytest.raises(RecipeMismatchError) as refusal:
        build_in_turn(recipe, output, setting)
    assert key in str(refusal.value)
    assert "--rebuild" in refusal.value.next_step
    assert content(output) == before


def edit_a_story(folder: Path) -> str:
    shutil.copytree(STORIES, folder / "stories")
    story = sorted((folder / "stories").glob("*.md"))[0]
    story.write_text(story.read_text() + "\nAnd then it rained.\n")
    return f"stories.path={folder / 'stories'}"


def test_an_edited_story_or_prompt_is_refused(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, output = finished
    with pytest.raises(RecipeMismatchError, match="stories_sha256"):
        build_in_turn(recipe, output, edit_a_story(tmp_path), "stories.limit=null")
    hashed: Callable[..., str] = lambda names=(): "0" * 64  # noqa: E731
    monkeypatch.setattr("flows.runs.prompts_sha256", hashed)
    with pytest.raises(RecipeMismatchError, match="prompts_sha256"):
        build_in_turn(recipe, output)


@pytest.mark.parametrize(
    "setting", ["name=other", "writer.slots=2", "writer.timeout_s=9", "gates.max_reason_share=0.9", "encoder.threads=2"]
)
def test_what_only_changes_the_speed_goes_on(
    finished: tuple[Path, Path], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, output = finished
    monkeypatch.setattr("generators.backends.echo.reply_to", None)  # whoever asks fails
    before = (output / "manifest.json").read_bytes()
    build_in_turn(recipe, output, setting)
    assert (output / "manifest.json").read_bytes() == before


def test_more_rows_go_on_from_those_that_are_there(finished: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, output = finished
    grown = shutil.copytree(output, tmp_path / "out")
    shards = {path: path.read_bytes() for path in grown.glob("work/utterances/*")}
    assert build_in_turn(recipe, grown, "utterances.rows=20").kept == 20
    assert {path: path.read_bytes() for path in shards} == shards
