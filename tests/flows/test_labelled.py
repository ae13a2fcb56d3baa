# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.labelled import LabelledSpec, named_rows, read_labelled
from validators.errors import InputError
from validators.taxonomy import builtin_taxonomy

LABELS = ("joy", "fear", "neutral")
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# the real data is not part of the repository; name its folder to run the test that reads it
REAL = Path(os.environ.get("GOEMOTIONS", Path(__file__).parents[3] / "shared" / "data" / "goemotions"))


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def read(path, **options):
    return read_labelled(LabelledSpec.parse(path, **options), LABELS)


@pytest.fixture
def goemotions(tmp_path):
    write(tmp_path, "labels.txt", "joy\nfear\nneutral\n")
    return write(tmp_path, "train.tsv", 'Yes!! \u2028 "Yes\t0\tid1\nNo\u00a0no\t1,2\tid2\n')


def test_the_format_of_goemotions(goemotions, tmp_path):
    data = read(goemotions, licence="CC-BY-4.0")
    assert data.texts == ('Yes!!\n"Yes', "No no")
    assert data.targets.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert (data.labels, data.licence, data.name) == (LABELS, "CC-BY-4.0", f"{tmp_path.name}-train")


def test_the_hash_is_of_texts_labels_and_targets(goemotions, tmp_path):
    before = read(goemotions).sha256
    assert read(goemotions).sha256 == before
    assert read_labelled(LabelledSpec.parse(goemotions), LABELS[::-1]).sha256 != before
    write(tmp_path, "train.tsv", "Yes\t0\tid1\nNo no\t1\tid2\n")
    assert read(goemotions).sha256 != before


@pytest.mark.parametrize("line", ["text\t3\tid", "text\t\tid", "text\tjoy\tid", "text", "text\t-1\tid"])
def test_a_line_that_goemotions_cannot_have_is_told(goemotions, tmp_path, line):
    write(tmp_path, "train.tsv", f"fine\t0\tid\n{line}\n")
    with pytest.raises(InputError, match="line 2"):
        read(goemotions)


def test_ids_without_names_are_told(tmp_path):
    with pytest.raises(InputError, match=r"labels\.txt"):
        read(write(tmp_path, "train.tsv", "text\t0\tid\n"))


@pytest.mark.parametrize("cell", ["joy|fear", '"joy, fear"'])
def test_a_column_of_names(tmp_path, cell):
    data = read(write(tmp_path, "some rows.csv", f"text,emotion\nOh,{cell}\nWell,neutral\n"))
    assert data.targets.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert (data.name, data.licence) == ("some-rows", "unknown")


def test_a_column_of_lists_and_columns_of_other_names(tmp_path):
    table = pa.table({"comment": ["Oh", "Well"], "felt": [["joy", "fear"], ["neutral"]], "labels": ["x", "y"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    data = read(str(tmp_path / "rows.parquet"), text="comment", label="felt")
    assert data.targets.tolist() == [[1, 1, 0], [0, 0, 1]]


def test_a_column_for_each_label_with_soft_scores(tmp_path):
    lines = ['{"text": "Oh", "joy": 0.75, "fear": 0, "age": 3}', '{"text": "Well", "joy": false, "fear": 0}']
    data = read(write(tmp_path, "rows.jsonl", "\n".join(lines)))
    np.testing.assert_array_equal(data.targets, [[0.75, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("cell", ["2", "-0.1", "nan", "yes", ""])
def test_a_score_that_is_none_is_told(tmp_path, cell):
    with pytest.raises(InputError, match="from 0 to 1"):
        read(write(tmp_path, "rows.csv", f"text,joy,fear\nOh,{cell},1\n"))


def test_a_label_map_renames_splits_joins_and_leaves_out(tmp_path):
    names = write(tmp_path, "map.yaml", "happy: joy\nglad: joy\nmixed: [joy, fear]\nodd: null\n'7': fear\n")
    rows = write(tmp_path, "rows.csv", "text,label\nA,happy|glad\nB,mixed\nC,odd\nD,odd|fear\nE,7\n")
    data = read(rows, label_map=names)
    assert data.texts == ("A", "B", "D", "E")
    assert data.targets.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_a_label_map_with_an_unknown_label_of_ours_is_told_with_its_line(tmp_path):
    names = write(tmp_path, "map.yaml", "glad: joy\nhappy: joi\n")
    with pytest.raises(InputError, match=r"line 2.*'joi'.*Did you mean 'joy'"):
        read(write(tmp_path, "rows.csv", "text,label\nA,happy\n"), label_map=names)


def test_labels_that_the_taxonomy_lacks_are_told_with_the_closest_and_the_next_step(tmp_path):
    rows = write(tmp_path, "rows.csv", "text,label\nA,feer\nB,feer\nC,joy\nD,awe\n")
    with pytest.raises(InputError) as told:
        read(rows)
    assert "'feer' (2 rows, first in " in told.value.what
    assert "Did you mean 'fear'" in told.value.what
    assert "'awe' (1 rows" in told.value.what
    assert "label map" in told.value.next_step


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\nA,\n", "label is empty"),
        ('text,label\nA,"joy,,fear"\n', "label is empty"),
        ("text,label\n ,joy\n", "text is empty"),
        ("text,label\n\u200b,joy\n", "text is empty"),
        ("text,label\n", "holds no labelled text"),
        ("", "holds no labelled text"),
        ("txt,label\nA,joy\n", "no column 'text'.*Did you mean 'txt'"),
        ("text,mood\nA,joy\n", "no column of labels. Known: text, mood"),
    ],
)
def test_what_is_missing_is_told(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, "rows.csv", content))


def test_a_file_that_is_not_there_or_of_another_kind_is_told(tmp_path):
    write(tmp_path, "rows.csv", "text,label\n")
    with pytest.raises(InputError, match=r"Did you mean 'rows\.csv'"):
        read(str(tmp_path / "row.csv"))
    with pytest.raises(InputError, match="unknown kind"):
        read(write(tmp_path, "rows.xlsx", "x"))


def test_a_dataset_of_the_hub_is_named_at_a_commit():
    spec = LabelledSpec.parse(f"hub:owner/name@{COMMIT}:validation", config="simplified")
    assert (spec.hub, spec.revision, spec.split, spec.config) == ("owner/name", COMMIT, "validation", "simplified")
    assert LabelledSpec.parse(f"hub:owner/name@{COMMIT}").split == "train"
    for wrong in ("hub:owner/name", "hub:owner/name@main", f"hub:@{COMMIT}"):
        with pytest.raises(InputError, match="at a commit"):
            LabelledSpec.parse(wrong)
    with pytest.raises(ValueError, match="exactly one of path, hub"):
        LabelledSpec()
    with pytest.raises(ValueError, match="needs a revision"):
        LabelledSpec(hub="owner/name")


def test_class_numbers_of_a_hub_dataset_become_names():
    import datasets

    names = datasets.ClassLabel(names=["joy", "fear"])
    features = datasets.Features({"text": datasets.Value("string"), "labels": datasets.List(names), "one": names})
    dataset = datasets.Dataset.from_dict({"text": ["A"], "labels": [[1, 0]], "one": [1]}, features=features)
    assert list(named_rows(dataset, "d")) == [("d, row 0", {"text": "A", "labels": ["fear", "joy"], "one": "fear"})]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs GoEmotions at {REAL}, or the variable GOEMOTIONS")
def test_goemotions_itself():
    taxonomy = builtin_taxonomy("goemotions")
    data = read_labelled(LabelledSpec.parse(str(REAL / "dev.tsv")), taxonomy.names)
    assert len(data) == 5426
    assert data.name == "goemotions-dev"
    assert data.chosen.sum(axis=0).min() > 0
    assert 1.1 < data.targets.sum() / len(data) < 1.3
