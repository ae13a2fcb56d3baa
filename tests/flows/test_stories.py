# SPDX-License-Identifier: Apache-2.0
import csv
import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.recipe import load_recipe
from flows.stories import read_stories, stories_sha256
from validators.errors import HubError, InputError
from validators.text import count_words, words

RECIPE = """\
name: small
stories:
  path: {path}
  licence: CC0-1.0
  section_words: 30
writer: {{backend: echo}}
encoder: {{backend: hashed}}
utterances: {{rows: 10}}
"""

SENTENCE = "The fox ran over the hill and met a very old hen. "


@pytest.fixture
def recipe(tmp_path):
    def recipe(*overrides, path="stories"):
        file = tmp_path / "recipe.yaml"
        file.write_text(RECIPE.format(path=path), encoding="utf-8")
        return load_recipe(file, overrides)

    return recipe


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "stories"
    folder.mkdir()
    return folder


def refusal(recipe, *parts):
    with pytest.raises(InputError) as caught:
        read_stories(recipe)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.next_step


def test_a_folder_of_texts(folder, recipe):
    (folder / "b-tale.txt").write_text("\ufeffOnce.\r\n\r\nThen.", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text(
        "---\ntitle: The Fox\nlicense: CC-BY-4.0\nsource: Aesop\nlanguage: de\ndate: 2001-01-01\n---\n"
        "# Ignored\nHe ran.\n\nSetext\n------\nShe ran.\n\n***\n\nThey ran.\n",
        encoding="utf-8",
    )
    (folder / ".hidden.txt").write_bytes(b"\xff")
    (folder / "notes.pdf").write_bytes(b"\xff")
    stories = {story.title: story for story in read_stories(recipe())}
    fox, tale = stories["The Fox"], stories["b tale"]
    assert fox.sections == ("He ran.\n\nShe ran.\n\nThey ran.",)  # chapters as short as these share a section
    assert (fox.licence, fox.source, fox.language) == ("CC-BY-4.0", "Aesop", "de")
    assert tale.sections == ("Once.\n\nThen.",)
    assert (tale.licence, tale.source, tale.language) == ("CC0-1.0", "b-tale.txt", "en")


def test_headings_are_borders(folder, recipe):
    (folder / "a.md").write_text(f"# One\n{SENTENCE * 2}\n## Two\n{SENTENCE * 2}\n", encoding="utf-8")
    (story,) = read_stories(recipe())
    assert story.title == "One"
    assert [count_words(section) for section in story.sections] == [24, 24]
    assert "#" not in "".join(story.sections)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("#hashtag and #more\n", "#hashtag and #more"),
        ("####### seven\n", "####### seven"),
        ("  ## Two ##\nHe ran.", "He ran."),
        ("Two lines\nof text\n---\nHe ran.", "Two lines of text He ran."),
        ("He ran.\n\n- - -\n\nShe ran.", "He ran. She ran."),
        ("Title\n-\nShe.", "She."),
        ("* " * 200_000 + "x", "* " * 200_000 + "x"),
        ("# " + " " * 200_000 + "#x\nHe ran.", "He ran."),
    ],
    ids=range(8),
)
def test_what_is_a_heading(folder, recipe, text, left):
    (folder / "a.md").write_text(text, encoding="utf-8")
    (story,) = read_stories(recipe("stories.section_words=2000"))
    assert words(" ".join(story.sections)) == words(left)


def test_the_id_is_made_of_the_text_alone(folder, recipe):
    (folder / "a.txt").write_text(SENTENCE * 20, encoding="utf-8")
    (one,) = read_stories(recipe())
    (folder / "a.txt").rename(folder / "z.txt")
    (other,) = read_stories(recipe("stories.section_words=60", "stories.language=de"))
    assert one.story_id == other.story_id
    assert stories_sha256([one]) != stories_sha256([other])


def test_stories_of_the_same_text_are_dropped_and_counted(folder, recipe, caplog):
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text("Once upon a time.\n" * (1 + (name == "c")), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert len(read_stories(recipe())) == 2
    assert "1 stories have the same text" in caplog.text


def test_a_limit_takes_the_first_of_a_seeded_shuffle(folder, recipe):
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(f"Story number {number}.", encoding="utf-8")
    everything = read_stories(recipe())
    assert read_stories(recipe("stories.limit=5")) == everything[:5]
    assert read_stories(recipe("seed=8")) != everything
    assert [story.title for story in everything] != sorted(story.title for story in everything)


def test_a_story_of_200_kb_is_cut_into_many_sections(folder, recipe):
    text = "\n\n".join(SENTENCE * 5 for _ in range(800))
    assert len(text) > 200_000
    (folder / "long.txt").write_text(text, encoding="utf-8")
    (story,) = read_stories(recipe())
    assert len(story.sections) > 1000
    assert max(count_words(section) for section in story.sections) <= 40
    assert words(" ".join(story.sections)) == words(text)


def test_an_empty_folder_says_what_to_do(folder, recipe):
    refusal(recipe(), "holds no .txt or .md file", "Put your stories there")
    (folder / "t.jsonl").write_text("{}", encoding="utf-8")
    refusal(recipe(), "Name the table t.jsonl itself")


def test_a_missing_folder_names_line_and_closest(folder, recipe):
    refusal(recipe(path="storeis"), "line 3, stories.path: there is no file or folder", "Did you mean 'stories'")


def test_an_unknown_kind_of_file(tmp_path, recipe):
    (tmp_path / "a.docx").write_bytes(b"PK")
    refusal(recipe(path="a.docx"), "a.docx is of an unknown kind. Known: .txt, .md, .jsonl, .csv, .parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\xe2\x80\x8b\n...", "is empty"),
        (b"Once\nupon \xe9 time", "line 2"),
        (b"\xff\xfeO\x00", "not UTF-8"),
        (b"a " * 2_600_000, "larger than 5 MB"),
    ],
)
def test_files_that_are_no_story(folder, recipe, content, message):
    (folder / "bad.txt").write_bytes(content)
    refusal(recipe(), message, "bad.txt")


def test_front_matter_must_be_yaml(folder, recipe):
    (folder / "a.md").write_text("---\ntitle: [\n---\nOnce.", encoding="utf-8")
    refusal(recipe(), "front matter", "a.md")
    (folder / "a.md").write_text("---\nJust a line between scenes,\nand one more.\n---\nOnce.", encoding="utf-8")
    assert "Just a line" in "".join(read_stories(recipe())[0].sections)


def test_a_story_without_licence_is_refused(folder, recipe):
    (folder / "a.txt").write_text("Once.", encoding="utf-8")
    refusal(recipe("stories.licence=null"), "has no licence", "Set stories.licence", "a.txt")


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, recipe):
    (folder / "a.txt").write_text("Once.", encoding="utf-8")
    (folder / "b.txt").symlink_to("a.txt")
    assert len(read_stories(recipe())) == 1
    (tmp_path / "secret.txt").write_text("Secret.", encoding="utf-8")
    (folder / "c.txt").symlink_to(tmp_path / "secret.txt")
    refusal(recipe(), "leads out of the story folder", "c.txt")


ROWS = [
    {"plot": "Once.", "name": "A", "url": "u/1", "license": "MIT", "lang": "en", "part": 2},
    {"plot": "Upon.", "name": "A", "url": "u/1", "license": None, "lang": "en", "part": 10},
    {"plot": "First.", "name": "A", "url": "u/1", "license": None, "lang": "en", "part": 1},
    {"plot": 'Other, "quoted"\nline.', "name": "B", "url": None, "license": None, "lang": None, "part": 1},
]
COLUMNS = "stories.columns={text: plot, title: name, source: url, language: lang, section: part}"


def write_table(path, rows=ROWS):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_tables_join_rows_of_a_title_in_section_order(tmp_path, recipe, name):
    write_table(tmp_path / name)
    stories = {story.title: story for story in read_stories(recipe(COLUMNS, path=name))}
    assert stories["A"].sections == ("First.\n\nOnce.\n\nUpon.",)
    assert (stories["A"].source, stories["A"].licence) == ("u/1", "MIT")  # one of its rows says so
    assert stories["B"].sections == ('Other, "quoted"\nline.',)
    assert (stories["B"].source, stories["B"].language) == ("B", "en")


def test_without_a_section_column_each_row_is_a_story(tmp_path, recipe):
    write_table(tmp_path / "t.csv")
    stories = read_stories(recipe("stories.columns={text: plot}", path="t.csv"))
    assert len(stories) == 4
    assert sorted(story.licence for story in stories) == ["CC0-1.0", "CC0-1.0", "CC0-1.0", "MIT"]


def test_a_missing_column_names_the_closest(tmp_path, recipe):
    write_table(tmp_path / "t.jsonl")
    refusal(recipe("stories.columns={text: plots}", path="t.jsonl"), "no column 'plots'. Did you mean 'plot'?")
    refusal(recipe(path="t.jsonl"), "no column 'text'")
    refusal(recipe("stories.columns={text: plot, section: part}", path="t.jsonl"), "joined by their title")


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("t.jsonl", b'{"text": "a"}\n{"text": \n', ["not JSON", "line 2"]),
        ("t.jsonl", b'["text"]\n', ["no JSON object", "line 1"]),
        ("t.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', ["not UTF-8", "line 2"]),
        ("t.jsonl", b'{"text": ["a"]}\n', ["other than text", "line 1"]),
        ("t.jsonl", b'{"text": "a"}\n{"text": " "}\n', ["is empty", "line 2"]),
        ("t.jsonl", b"\n", ["holds no story"]),
        ("t.csv", b"text,title\na,b,c\n", ["more cells than the header", "line 2"]),
        ("t.csv", b"text\n\xe9\n", ["not UTF-8"]),
        ("t.csv", b'text\n"a"b\n', ["not CSV"]),
        ("t.parquet", b"PAR1", ["is not a readable Parquet file"]),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, recipe, name, content, parts):
    (tmp_path / name).write_bytes(content)
    refusal(recipe(path=name), *parts)


def test_a_csv_cell_may_be_as_long_as_a_story(tmp_path, recipe):
    write_table(tmp_path / "t.csv", [{"text": SENTENCE * 5000, "title": "Long"}])
    (story,) = read_stories(recipe(path="t.csv"))
    assert sum(map(count_words, story.sections)) == 60_000


HUB = ["stories.path=null", "stories.hub=a/b", f"stories.revision={'a' * 40}"]


def test_the_hub_is_asked_at_a_commit_and_empty_rows_are_passed_over(recipe, monkeypatch, caplog):
    asked: dict[str, object] = {}

    def load_dataset(path, **how):
        asked.update(how, path=path)
        return [{"text": f"Story {number}." if number else ""} for number in range(50)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with caplog.at_level(logging.WARNING):
        assert len(read_stories(recipe(*HUB))) == 49
    assert asked == {"path": "a/b", "name": None, "split": "train", "revision": "a" * 40}
    assert "1 rows of a/b hold no text" in caplog.text
    few = read_stories(recipe(*HUB, "stories.limit=5"))
    assert few == read_stories(recipe(*HUB, "stories.limit=5"))
    assert few != read_stories(recipe(*HUB, "stories.limit=5", "seed=8"))
    assert len(few) == 5


@pytest.mark.parametrize(
    ("raised", "expected"), [(ConnectionError("no"), HubError), (ValueError("config"), InputError)]
)
def test_the_hub_may_fail(recipe, monkeypatch, raised, expected):
    def load_dataset(path, **how):
        raise raised

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(expected, match=r"a/b|config"):
        read_stories(recipe(*HUB))
