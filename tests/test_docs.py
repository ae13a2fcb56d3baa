# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: every command of the README is run, every recipe it names loads, every link leads on."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import cli
from flows.recipe import Recipe, load_recipe
from flows.text_files import read_file
from tests.doubles.hub import LoopbackHub
from tests.flows.builds import command
from validators.taxonomy import Taxonomy, builtin_taxonomy

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "outputs" / "README.md"])


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def write_goemotions(folder: Path, taxonomy: Taxonomy, rows: dict[str, int]) -> None:
    """Made-up labelled texts in GoEmotions' format, so many a label."""
    folder.mkdir()
    (folder / "labels.txt").write_text("\n".join(taxonomy.names))
    for name, each in rows.items():
        lines = []
        for index, label in enumerate(taxonomy.labels):
            words = label.synonyms or ("the bus", "at ten")
            lines += [f"{name} {n}: {label.name}, {words[n % len(words)]}\t{index}\tid{n}" for n in range(each)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")


COMMANDS = [line for block in blocks("bash") for line in block.strip().splitlines()]


def test_the_readme_names_the_two_commands_that_do_everything():
    assert {"make dataset", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_knows_the_targets(line):
    result = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_command_of_the_command_line_is_in_the_readme_and_has_help():
    for one in cli.app.registered_commands:
        assert one.callback is not None
        assert f"affectory {one.name or one.callback.__name__}" in README
        assert one.callback.__doc__


@pytest.mark.usefixtures("prefect_server")
def test_the_commands_run_as_the_readme_says(tmp_path):
    """With the scripted backend in place of the embedded writer: the real one is built by tests/test_embedded.py."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    taxonomy = builtin_taxonomy("goemotions")
    write_goemotions(tmp_path / "goemotions", taxonomy, {"train": 12, "dev": 4})
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        lines = [line for line in COMMANDS if line.startswith("affectory")]
        assert len(lines) == 10
        with LoopbackHub() as hub:
            on_hub = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "loopback"}
            for line in lines:
                arguments = shlex.split(line.replace("USER/NAME", "me/tiny"))[1:]
                if arguments[0] in {"plan", "build", "measure-reader"}:
                    writer = "writer={backend: echo, licence: Apache-2.0}"
                    for setting in (writer, "encoder={backend: hashed}", "loop={rank: 14, score: 0}"):
                        arguments += ["--set", setting]
                if arguments[0] == "train-reader":
                    arguments += ["--hashed"]
                if arguments[0] == "evaluate":
                    arguments += ["--encoder", "hashed"]
                more = on_hub if arguments[0] == "publish" else {}
                result = command(*arguments, env={"PYTHONPATH": str(ROOT), **more})
                assert result.returncode == 0, result.stdout + result.stderr
            assert hub.repos["me/tiny"].tags.keys() == {"v1"}
        python = blocks("python")[0]
        exec(compile(python, "README.md", "exec"), {})
    finally:
        os.chdir(here)


def test_the_recipe_in_the_readme_loads(tmp_path):
    mine, front, dials, dialogues, speech = blocks("yaml")
    (tmp_path / "story.md").write_text(f"{front}\nIda left the lid off the hive, and every bee died.\n")
    assert [told.feels for told in read_file(tmp_path / "story.md", Path("story.md")).annotations] == ["remorse"]
    (tmp_path / "speech.yaml").write_text(mine + speech)
    assert load_recipe(tmp_path / "speech.yaml").speech is not None
    (tmp_path / "mine.yaml").write_text(mine)
    assert load_recipe(tmp_path / "mine.yaml").utterances.rows == 1000
    (tmp_path / "dials.yaml").write_text(mine + dials)
    assert load_recipe(tmp_path / "dials.yaml").floors.labels == 24
    (tmp_path / "dialogues.yaml").write_text(mine + dialogues)
    talk = load_recipe(tmp_path / "dialogues.yaml").dialogues
    assert talk is not None
    assert talk.turns == {3: 1, 4: 1, 5: 1, 6: 1}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads_and_is_in_the_readme(path):
    assert isinstance(load_recipe(path), Recipe)
    assert path.name in README


def test_the_taxonomy_in_the_contributing_page_is_valid():
    text = re.findall(r"```yaml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert Taxonomy.model_validate(YAML(typ="safe", pure=True).load(text)).names == ("joy", "anger")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_code_paths_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    targets += re.findall(r"`((?:flows|generators|validators|tests|recipes|requirements)/[\w/.]+\.\w+)`", text)
    for target in targets:
        assert (page.parent / target).exists() or (ROOT / target).exists(), target


def test_the_architecture_page_is_two_pages_at_most():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 110
