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
from typer.models import CommandInfo

from flows import cli
from flows.markdown import markdown_table
from flows.recipe import Recipe, load_recipe
from flows.serve_role import Serve
from flows.text_files import read_file
from tests.doubles.hub import LoopbackHub
from tests.flows.builds import command
from tests.flows.reviews import served
from validators.dialogue_schemas import DIALOGUE_COLUMNS
from validators.rating_schemas import RATING_COLUMNS
from validators.schemas import COLUMN_DESCRIPTIONS
from validators.speech_schemas import CLIP_COLUMN_DESCRIPTIONS, RECORDING_COLUMN_DESCRIPTIONS
from validators.taxonomy import Taxonomy, builtin_taxonomy

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "outputs" / "README.md"])


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


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


COMMANDS = [
    line
    for page in ("README.md", "docs/publish.md", "docs/schedule.md")
    for block in blocks("bash", page)
    for line in block.strip().splitlines()
]


SPOKEN = (
    "speech={voice: {backend: tone}, listener: {backend: quiet}, max_wer: 1, min_dnsmos: 1, min_similarity: -1, "
    "takes: 1, of: [utterances]}"
)
FEWER = ("utterances.rows=20", "utterances.contextual_rows=20", "dialogues.rows=2")
REPOSITORIES = {"publish": "me/tiny", "schedule": "me/weekly"}


def test_the_readme_names_the_two_commands_that_do_everything():
    assert {"make dataset", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_make_knows_the_targets(line):
    result = subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def name_of(one: CommandInfo) -> str:
    assert one.callback is not None
    return one.name or one.callback.__name__


def test_every_command_of_the_command_line_is_in_the_readme_and_has_help():
    for one in cli.app.registered_commands:
        assert f"affectory {name_of(one)}" in README
        assert one.callback is not None
        assert one.callback.__doc__


@pytest.mark.usefixtures("prefect_server")
def test_the_commands_run_as_the_readme_says(tmp_path):
    """With scripted backends in place of the embedded ones, with which tests/test_embedded.py builds."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    taxonomy = builtin_taxonomy("goemotions")
    write_goemotions(tmp_path / "goemotions", taxonomy, {"train": 12, "dev": 4})
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        lines = [line for line in COMMANDS if line.startswith("affectory")]
        assert len(lines) == 13
        assert {line.split()[1] for line in lines} == {name_of(one) for one in cli.app.registered_commands}
        with LoopbackHub() as hub:
            on_hub = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "loopback"}
            for line in lines:
                arguments = shlex.split(line.replace("USER/NAME", REPOSITORIES.get(line.split()[1], "")))[1:]
                if "--cron" in arguments:  # serves until it is ended; tests/flows/test_schedule.py lets one fire
                    arguments = [*arguments[:2], "--once", *arguments[4:]]
                if arguments[0] in {"plan", "build", "measure-reader", "schedule"}:
                    writer = "writer={backend: echo, licence: Apache-2.0}"
                    for setting in (writer, "encoder={backend: hashed}", "loop={rank: 14, score: 0}", SPOKEN, *FEWER):
                        arguments += ["--set", setting]
                if arguments[0] == "train-reader":
                    arguments += ["--hashed"]
                if arguments[0] == "evaluate":
                    arguments += ["--encoder", "hashed"]
                if arguments[0] == "review":  # serves until it is ended
                    with served(Path(arguments[1])) as server:
                        assert server.send("GET", "/").status == 200
                        server.end()
                    continue
                result = command(*arguments, env=on_hub if "--repo" in arguments else None)
                assert result.returncode == 0, result.stdout + result.stderr
            assert hub.repos["me/tiny"].tags.keys() == {"v1"}
            assert hub.repos["me/weekly"].tags.keys() == {"v1", "v2"}
        python = blocks("python")[0]
        exec(compile(python, "README.md", "exec"), {})
    finally:
        os.chdir(here)


def test_the_recipes_in_the_pages_load(tmp_path):
    (mine,) = blocks("yaml")

    def load(extra: str) -> Recipe:
        """A recipe of the README with keys of a page in place of its own."""
        yaml = YAML(typ="safe", pure=True)
        with (tmp_path / "recipe.yaml").open("w") as file:
            yaml.dump({**yaml.load(mine), **yaml.load(extra)}, file)
        return load_recipe(tmp_path / "recipe.yaml")

    assert load("{}").utterances.rows == 1000
    stories, front = blocks("yaml", "docs/stories.md")
    assert load(stories).stories.columns.text == "body"
    (tmp_path / "story.md").write_text(f"{front}\nIda left the lid off the hive, and every bee died.\n")
    assert [told.feels for told in read_file(tmp_path / "story.md", Path("story.md")).annotations] == ["remorse"]
    (dials,) = blocks("yaml", "docs/readers.md")
    assert load(dials).floors.labels == 24
    (dialogues,) = blocks("yaml", "docs/dialogues.md")
    talk = load(dialogues).dialogues
    assert talk is not None
    assert talk.turns == {3: 1, 4: 1, 5: 1, 6: 1}
    (speech,) = blocks("yaml", "docs/speech.md")
    assert load(speech).speech is not None
    ours, mine_elsewhere = blocks("yaml", "docs/servers.md")
    assert load(ours).writer.serve is not None
    assert load(mine_elsewhere).writer.api_key_env == "MY_KEY"


def test_the_page_of_columns_is_that_of_the_schemas():
    page = (ROOT / "docs/columns.md").read_text(encoding="utf-8")
    tables = {
        "utterances": COLUMN_DESCRIPTIONS["utterances"],
        "dialogues": DIALOGUE_COLUMNS,
        "clips": CLIP_COLUMN_DESCRIPTIONS,
        "recordings": RECORDING_COLUMN_DESCRIPTIONS,
    }
    for name, columns in tables.items():
        assert f"## {name}\n\n{markdown_table(['column', 'meaning'], [list(row) for row in columns.items()])}" in page


def test_the_columns_of_ratings_are_explained_where_raters_are():
    page = (ROOT / "docs/review.md").read_text(encoding="utf-8")
    assert markdown_table(["column", "meaning"], [list(row) for row in RATING_COLUMNS.items()]) in page


def test_the_keys_of_a_server_are_explained():
    page = (ROOT / "docs/servers.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == list(Serve.model_fields)


def test_every_page_is_in_the_table_of_the_readme():
    for page in ROOT.glob("docs/*.md"):
        assert f"docs/{page.name}" in README


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
