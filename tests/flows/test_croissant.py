# SPDX-License-Identifier: Apache-2.0
"""croissant.json is what the reference validator takes, and what it leads to are the rows of the release."""

import hashlib
import json
import logging

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.manifest import read_manifest, verify_release
from flows.release_audit import audit_release
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH

CONFIGS = ("utterances", "dialogues", "clips", "recordings")
ARCHIVES = SPEECH + "  webdataset: true\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=12, extra=DIALOGUES.replace("18", "6") + ARCHIVES)


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "out"
    build_in_turn(recipe, root, *READ)
    return root


@pytest.fixture(scope="module")
def described(built):
    return json.loads((built / "croissant.json").read_bytes())


@pytest.fixture(scope="module")
def dataset(built):
    return mlcroissant.Dataset(jsonld=str(built / "croissant.json"))


def records(dataset, config):
    """The records of a config as the reference reader gives them, by the names of their columns, texts decoded."""
    return [_plain(record, config) for record in dataset.records(config)]


def _plain(value, above):
    if isinstance(value, bytes) and not above.endswith("/audio"):
        return value.decode()
    if isinstance(value, dict):
        return {key.rpartition("/")[2]: _plain(inner, key) for key, inner in value.items()}
    return [_plain(one, above) for one in value] if isinstance(value, list) else value


def test_the_validator_finds_no_error(dataset, described):
    assert not dataset.metadata.ctx.issues.errors
    # a date would differ from build to build; all else that is recommended is there
    assert all("datePublished" in one for one in dataset.metadata.ctx.issues.warnings)
    assert {one["@id"] for one in described["recordSet"]} == {"splits", *CONFIGS}


def test_it_is_part_of_the_release_and_is_looked_at_before_it_is_published(built):
    assert verify_release(built) == []
    assert "croissant.json" in {file.path for file in read_manifest(built).files}
    assert {finding.kind for finding in audit_release(built, read_manifest(built))} <= {"licence"}


def test_every_file_of_the_tables_is_named_with_its_hash(built, described):
    named = {one["contentUrl"]: one for one in described["distribution"] if one["@type"] == "cr:FileObject"}
    assert named.keys() == {path.relative_to(built).as_posix() for path in (built / "data").rglob("*.*")}
    for path, one in named.items():
        data = (built / path).read_bytes()
        assert one["sha256"] == hashlib.sha256(data).hexdigest()
        assert one["contentSize"] == f"{len(data)} B"


@pytest.mark.parametrize("config", CONFIGS)
def test_the_reader_reads_every_row_of_every_table(dataset, built, config):
    wanted = rows(built, f"data/{config}/*.parquet")
    found = records(dataset, config)
    assert len(found) == len(wanted) > 0
    schema = pq.read_schema(next((built / "data" / config).iterdir()))
    flat = [column.name for column in schema if not pa.types.is_nested(column.type)]
    order = sorted(found, key=lambda row: [str(row[key]) for key in flat])
    expected = sorted(wanted, key=lambda row: [str(row[key]) for key in flat])
    for read, row in zip(order, expected, strict=True):
        assert {name: read[name] for name in flat} == {name: row[name] for name in flat}
        if "audio" in row:
            assert read["audio"] == row["audio"]["bytes"]


def test_nested_columns_are_read_by_their_parts(dataset, built):
    utterances = {row["utterance_id"]: row for row in rows(built)}
    for read in records(dataset, "utterances"):
        row = utterances[read["utterance_id"]]
        assert read["intended"] == row["intended"]
        assert read["perceived"] == row["perceived"]
    dialogues = {row["dialogue_id"]: row for row in rows(built, "data/dialogues/*.parquet")}
    for read in records(dataset, "dialogues"):
        turns = dialogues[read["dialogue_id"]]["turns"]
        assert [turn["text"] for turn in read["turns"]] == [turn["text"] for turn in turns]
        assert [turn["realised"] for turn in read["turns"]] == [turn["realised"] for turn in turns]


def test_every_column_has_a_meaning_and_its_type(built, described):
    for one in described["recordSet"]:
        if one["@id"] != "splits":
            assert [field["name"] for field in one["field"]] == list(rows(built, f"data/{one['@id']}/*.parquet")[0])
            assert all(field["description"] for field in one["field"])


def test_the_same_recipe_gives_the_same_bytes_without_time_or_place(built, recipe, tmp_path):
    build_in_turn(recipe, tmp_path / "again", *READ)
    text = (built / "croissant.json").read_text()
    assert (tmp_path / "again" / "croissant.json").read_text() == text
    assert str(built.parent) not in text
    assert str(recipe.parent) not in text


def test_what_the_validator_would_refuse_is_refused(described, tmp_path, caplog):
    """The check above can fail: a field from a file that is not there is an error."""
    caplog.set_level(logging.CRITICAL)
    described = json.loads(json.dumps(described))
    described["recordSet"][1]["field"][0]["source"]["fileSet"]["@id"] = "elsewhere"
    (tmp_path / "croissant.json").write_text(json.dumps(described))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
