# SPDX-License-Identifier: Apache-2.0
"""Who has the card and the stories can make the release again: the card alone leads to the same manifest."""

import json
import re
import shlex
import shutil

import pytest

from flows.manifest import read_manifest
from generators.prompts import DIALOGUE_PROMPTS, PROMPTS, load_prompt
from tests.flows.builds import STORIES, build_in_turn, command, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH


@pytest.mark.usefixtures("prefect_server")
def test_the_card_alone_rebuilds_the_release(tmp_path, monkeypatch):
    given = tmp_path / "given"
    given.mkdir()
    shutil.copytree(STORIES, given / "stories")
    recipe = write_recipe(given, rows=12, extra=DIALOGUES.replace("18", "4") + SPEECH)
    first = tmp_path / "first"
    build_in_turn(recipe, first, *READ, "stories.path=stories")
    card = (first / "README.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in card
    for name in PROMPTS + DIALOGUE_PROMPTS:
        assert load_prompt(name).sha256 in card
    models = {row[column] for row in rows(first) for column in ("writer", "reader")}
    models |= {row["engine"] for row in rows(first, "data/clips/*.parquet")}
    for dialogue in rows(first, "data/dialogues/*.parquet"):
        models |= {speaker["writer"] for speaker in dialogue["speakers"]}
    assert [model for model in models if f"`{model}`" not in card] == []

    stranger = tmp_path / "stranger"
    stranger.mkdir()
    shutil.copytree(STORIES, stranger / "stories")
    told = re.search(r"save the recipe as `([^`]+)` and run `affectory ([^`]+)`", card)
    assert told
    text = re.search(r"^```json\n(\{.*?\n\})\n```$", card, flags=re.DOTALL | re.MULTILINE)
    assert text
    (stranger / told[1]).write_text(text[1], encoding="utf-8")
    monkeypatch.chdir(stranger)
    ran = command(*shlex.split(told[2]))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    again = stranger / "outputs" / json.loads(text[1])["name"]
    assert {file.path: file.sha256 for file in read_manifest(again).files} == {
        file.path: file.sha256 for file in read_manifest(first).files
    }
    assert (again / "manifest.json").read_bytes() == (first / "manifest.json").read_bytes()
