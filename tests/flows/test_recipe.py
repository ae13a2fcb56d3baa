# SPDX-License-Identifier: Apache-2.0
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.dialogue_role import Dialogues
from flows.identity import EXCLUDED, QUOTAS, difference, fingerprint, identity, is_quota
from flows.recipe import Recipe, check_labels, load_recipe, load_taxonomy
from flows.roles import Writer
from flows.speech_role import Speech
from validators.errors import InputError

RECIPES = Path(__file__).parents[2] / "recipes"

GOOD = """\
name: small
stories:
  path: stories
  licence: CC0-1.0
writer:
  backend: echo
encoder:
  backend: hashed
utterances:
  rows: 10
"""

# seven lines that would unfold to nine to the seventh numbers
BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n"
BOMB += "".join(f"{y}: &{y} [{f'*{x},' * 9}]\n" for x, y in pairwise("abcdefgh"))

HASHES = {"taxonomy_sha256": "t", "stories_sha256": "s", "prompts_sha256": "p"}


@pytest.fixture
def write(tmp_path):
    def write(text, name="recipe.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path, overrides=()):
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_recipe(path, overrides)
    assert caught.value.next_step
    return str(caught.value)


def identify(recipe):
    return identity(recipe, **HASHES, versions={"affectory": "1"})


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_recipes_that_come_along_are_valid(path):
    recipe = load_recipe(path)
    assert load_taxonomy(recipe).names
    check_labels(recipe, load_taxonomy(recipe).names)


def test_defaults_are_filled_in(write):
    recipe = load_recipe(write(GOOD))
    data: Any = recipe.canonical()
    assert data["gates"] == {"min_words": 4, "max_words": 45, "copied_ngram": 6, "max_reason_share": 0.5}
    assert data["utterances"]["intensities"] == [1, 2]
    assert recipe.taxonomy == "goemotions"
    assert Recipe.model_validate_json(recipe.model_dump_json()).canonical() == data


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  rows: 10", "  row: 10", "line 10, utterances.row: unknown key. Did you mean 'rows'? Known: rows, "),
        ("  rows: 10", "  row: 10", "line 9, utterances.rows: is missing"),
        ("rows: 10", 'rows: "10"', "line 10, utterances.rows: should be a valid integer, not text"),
        ("rows: 10", "rows: 10.0", "line 10, utterances.rows: should be a valid integer, not a number"),
        ("rows: 10", "rows: true", "line 10, utterances.rows: should be a valid integer, not true or false"),
        ("rows: 10", "rows: 0", "line 10, utterances.rows: should be greater than or equal to 1"),
        ("rows: 10", "rows: .nan", "line 10, utterances.rows: is not a finite number"),
        ("rows: 10", "rows: " + "9" * 5000, "line 10, utterances.rows: is not a finite number"),
        ("rows: 10", "rows: 10\n  rows: 11", "line 11, utterances.rows: key occurs twice, first in line 10"),
        ("rows: 10", "rows: 10\n  contextual_rows: 11", "line 11, utterances.contextual_rows: is more than rows"),
        ("rows: 10", "rows: 10\n  intensities: [1, 1]", "names an intensity twice"),
        ("rows: 10", "rows: 10\n  labels: [joy, joy]", "line 11, utterances.labels: names a label twice"),
        ("rows: 10", "rows: 10\n  labels: {joy: -1}", "line 11, utterances.labels.joy: should be greater than 0"),
        ("rows: 10", "rows: 10\n  labels: []", "utterances.labels: should have at least 1 item"),
        ("backend: echo", "backend: ecko", "line 6, writer.backend: is not a known value. Did you mean 'echo'?"),
        ("backend: echo", "backend: llama", "line 5, writer.weights: is missing"),
        ("backend: echo", "backend: openai", "writer.base_url: is missing"),
        ("backend: echo", "backend: echo\n  weights: {package: x}", "the echo backend takes no weights"),
        ("backend: echo", "backend: vllm\n  weights: {path: w}", "writer.licence: is missing"),
        ("backend: echo", "backend: vllm\n  weights: {hub: a/b}", "needs a revision"),
        ("backend: echo", "backend: vllm\n  weights: {hub: a/b, revision: main}", "weights.revision: must be a commit"),
        ("backend: echo", "backend: echo\n  timeout_s: -1", "line 7, writer.timeout_s"),
        ("  path: stories\n", "", "line 2, stories: needs exactly one of path, hub, fairytaleqa"),
        ("path: stories", "path: stories\n  hub: a/b", "needs exactly one of path, hub, fairytaleqa"),
        ("path: stories", "hub: a/b", "line 3, stories.hub: needs a revision"),
        (
            "path: stories",
            f"hub: a/b\n  revision: {'a' * 40}\n  evidence: given",
            "line 5, stories.evidence: stories of the Hub come without feelings",
        ),
        ("path: stories", "path: stories\n  language: English", "line 4, stories.language: must be a code"),
        ("name: small", "name: ../small", "line 1, name: must be a folder name"),
        ("name: small", "name: 1e3", "line 1, name: should be a valid string, not a number: put it in quotes"),
        ("name: small", "name: small\nsplits: {train: 0.9}", "line 2, splits: train, validation and test sum to 1.1"),
        ("name: small", "name: small\ngates: {min_words: 50}", "line 2, gates.min_words: is more than max_words (45)"),
        ("name: small", "name: !!python/name:os.system x", "line 1, name: has a YAML tag"),
        ("name: small", "name: small\n1: x", "line 2 has a key that is not text"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_key(write, old, new, message):
    assert old in GOOD
    assert message in refusal(write(GOOD.replace(old, new)))


def test_all_problems_are_told_at_once_in_the_order_of_the_file(write):
    text = refusal(write(GOOD.replace("rows: 10", "row: 10\n  candidates: x").replace("small", "Small") + "seed: -1\n"))
    assert text.startswith("5 problems in ")
    lines = [line.split(",")[0] for line in text.splitlines() if line.startswith("  line")]
    assert lines == ["  line 1", "  line 9", "  line 10", "  line 11", "  line 12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no 'key: value' pairs"),
        ("- a\n", "holds no 'key: value' pairs"),
        ("name: x\n\tseed: 1\n", "line 2: found character"),
        ("name: [x\n", "is not valid YAML"),
        ("name: x\x00\n", "a character that YAML does not allow"),
        (b"name: \xff\n", "line 1 is not UTF-8"),
        ("a: &a [*a]\n", "aliases"),
        ("[" * 600, "nested too deeply"),
        (BOMB, "aliases"),
        ("# " + "x" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_files_that_are_no_recipe(write, text, message):
    assert message in refusal(write(text))


def test_a_missing_recipe_names_the_closest_file(write):
    path = write(GOOD, "tiny.yaml")
    assert "Did you mean 'tiny.yaml'" in refusal(path.with_name("tinny.yaml"))
    assert "cannot be read" in refusal(path.parent)


SERVER = "backend: openai\n  name: m\n  licence: x\n  base_url: {url}\n  api_key_env: {variable}"


def test_a_server_is_named_with_the_variable_of_its_key(write):
    server = SERVER.format(url="http://127.0.0.1:8000/v1", variable="OPENAI_API_KEY")
    assert load_recipe(write(GOOD.replace("backend: echo", server))).writer.api_key_env == "OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("http://h/v1", "sk-abcdefghijklmnopqrstuvwx0123"),
        ("http://h/v1", "hf_abcdefghijklmnopqrstuvwx0123"),
        ("http://h/v1", "AKIAIOSFODNN7EXAMPLE"),
        ("http://h/v1", "AB12CD34EF56AB78CD90"),
        ("http://user:pa55word@h/v1", "KEY"),
        ("http://h/v1?key=abcdefgh", "KEY"),
        ("file:///etc/passwd", "KEY"),
    ],
)
def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(write, url, variable):
    text = refusal(write(GOOD.replace("backend: echo", SERVER.format(url=url, variable=variable))))
    assert "line " in text
    assert variable == "KEY" or variable not in text
    assert "pa55word" not in text


def test_a_key_is_refused_wherever_it_stands(write):
    text = refusal(write(GOOD + "  labels: {joy: 1}\ntaxonomy: hf_abcdefghijklmnopqrstuvwx0123\n"))
    assert "line 12, taxonomy: holds a key or login" in text
    assert "hf_abc" not in text


def test_overrides_change_and_are_checked(write):
    path = write(GOOD)
    recipe = load_recipe(path, ["utterances.rows=12", "utterances.labels=[joy, fear]", "gates.min_words=5", "seed=3"])
    assert recipe.utterances.rows == 12
    assert recipe.utterances.labels == {"fear": 1.0, "joy": 1.0}
    assert (recipe.gates.min_words, recipe.seed) == (5, 3)
    assert "--set, utterances.row: unknown key. Did you mean 'rows'?" in refusal(path, ["utterances.row=1"])
    assert "--set, seed: should be" in refusal(path, ["seed=three"])
    assert load_recipe(path, ["stories.limit="]).stories.limit is None
    for bad in ("seed", "=1", ".seed=1", "seed=[1"):
        with pytest.raises(InputError):
            load_recipe(path, [bad])


def test_unknown_emotions_name_the_closest_and_the_line(write):
    recipe = load_recipe(write(GOOD + "  labels: {hapy: 2, joy: 1}\n"))
    with pytest.raises(InputError, match=r"line 11, .*labels: emotion 'hapy' is unknown. Did you mean 'happy'"):
        check_labels(recipe, ["happy", "joy"])


def test_taxonomy_by_name_or_file(write):
    with pytest.raises(InputError, match=r"line 1, taxonomy: .* Did you mean 'goemotions'"):
        load_taxonomy(load_recipe(write("taxonomy: goemotion\n" + GOOD)))
    own = "name: own\ntitle: Own\nversion: 1\nsource: me\nneutral: null\nlabels:\n"
    label = "- {{name: {0}, title: T, definition: One of our feelings., synonyms: [{0}], valence: 0, arousal: 0.5}}\n"
    write(own + label.format("glee") + label.format("gloom"), "own.yaml")
    assert load_taxonomy(load_recipe(write("taxonomy: own.yaml\n" + GOOD))).names == ("glee", "gloom")
    vague = label.format("gloom").replace("One of our feelings.", "Bad.")
    bad = write(own + label.format("glee") + vague, "own.yaml")
    with pytest.raises(InputError, match=r"line 8, labels\[1\].definition: label 'gloom' needs a definition") as caught:
        load_taxonomy(load_recipe(write("taxonomy: own.yaml\n" + GOOD)))
    assert str(bad) in str(caught.value)


def test_paths_start_at_the_recipe(write, tmp_path):
    recipe = load_recipe(write(GOOD))
    assert recipe.resolve("stories") == tmp_path / "stories"
    assert recipe.resolve("/stories") == Path("/stories")


def test_the_fingerprint_ignores_key_order_and_place(write, tmp_path):
    blocks = GOOD.replace("\n  ", "~").splitlines(keepends=True)
    shuffled = "".join(reversed(blocks)).replace("~", "\n  ")
    assert shuffled.startswith("utterances:")
    (tmp_path / "sub").mkdir()
    one, other = load_recipe(write(GOOD)), load_recipe(write(shuffled, "sub/other.yaml"))
    assert fingerprint(identify(one)) == fingerprint(identify(other))
    assert difference(identify(one), identify(other)) == []


def changed(value):
    """Give another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x"


def leaves(data, above=()):
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


TINY = load_recipe(RECIPES / "tiny.yaml")
LEAVES = list(leaves(TINY.canonical()))


class Changed:
    """A recipe of which only the data matters, valid or not."""

    def __init__(self, data):
        self.data = data

    def canonical(self):
        return self.data


@settings(deadline=None)
@given(st.sampled_from(LEAVES), st.permutations(["name", "seed", "stories", "writer", "utterances"]))
def test_the_fingerprint_changes_with_any_key_that_is_not_excluded(leaf, order):
    place, value = leaf
    data: Any = TINY.canonical()
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = changed(value)
    data = {key: data[key] for key in (*order, *data)}
    old, new = identify(TINY), identify(Changed(data))
    excluded = ".".join(place) in EXCLUDED or is_quota(".".join(place))
    assert (fingerprint(old) == fingerprint(new)) == excluded
    assert len(difference(old, new)) == (not excluded)


@pytest.mark.parametrize("key", [*HASHES, "versions"])
def test_the_fingerprint_changes_with_hashes_and_versions(key):
    these: Any = {**HASHES, "versions": {"affectory": "1"}}
    other: Any = {**these, key: {"affectory": "2"} if key == "versions" else "z"}
    assert fingerprint(identity(TINY, **these)) != fingerprint(identity(TINY, **other))


def test_every_excluded_key_exists_and_has_a_reason():
    known = {".".join(place) for place, _ in LEAVES}
    known |= {f"dialogues.{key}" for key in Dialogues.model_fields}
    known |= {f"speech.{key}" for key in Speech.model_fields} | {f"writer.{key}" for key in Writer.model_fields}
    assert set(EXCLUDED) <= known
    assert all(any(key == quota or key.startswith(f"{quota}.") for key in known) for quota in QUOTAS)
    assert all(len(reason.split()) > 2 for reason in (EXCLUDED | QUOTAS).values())


def test_difference_reads_as_old_and_new(write):
    old = identify(load_recipe(write(GOOD)))
    new = identify(load_recipe(write(GOOD), ["utterances.candidates=11", "writer.options={a: 1}"]))
    assert difference(old, new) == [
        "utterances.candidates: 4 -> 11",
        "writer.options: {} -> (absent)",
        "writer.options.a: (absent) -> 1",
    ]


def test_more_rows_than_their_ids_can_number_are_refused(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text(
        "name: many\nstories: {path: stories}\nwriter: {backend: echo}\nencoder: {backend: hashed}\n"
        "utterances: {rows: 7000000}\n"
    )
    with pytest.raises(InputError, match="raise shard_rows"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("reader", "problem"),
    [
        ("{backend: head}", "path: is missing"),
        ("{backend: classifier}", "weights: is missing"),
        ("{backend: ensemble, members: [{backend: echo}]}", "members: needs at least two readers"),
        ("{backend: ensemble, members: [{backend: echo}, {backend: none}]}", "holds neither another ensemble nor none"),
        ("{backend: descriptions, path: readers/x}", "path: only belongs to the head or ensemble reader"),
        (
            "{backend: head, path: x, members: [{backend: echo}, {backend: chat}]}",
            "members: only belongs to the ensemble",
        ),
        ("{backend: heads}", "backend"),
    ],
)
def test_a_reader_that_does_not_fit_is_refused(write, reader, problem):
    assert problem in refusal(write(f"{GOOD}reader: {reader}\n"))


def test_a_recipe_without_a_reader_has_one_that_needs_no_labelled_data(write):
    reader = load_recipe(write(GOOD)).reader
    assert reader.backend == "ensemble"
    assert [member.backend for member in reader.members or ()] == ["descriptions", "chat"]
