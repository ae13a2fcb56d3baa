# SPDX-License-Identifier: Apache-2.0
"""Every reader that a recipe can name reads a release, and what does not fit is refused before any model call."""

from pathlib import Path

import pytest

from flows.labelled import LabelledSpec, read_labelled
from flows.manifest import verify_release
from flows.recipe import load_recipe
from flows.runs import read_inputs
from flows.train_reader import train_reader
from generators.backends.hashed import open_encoder
from generators.encoder import EncoderSettings
from tests.flows.builds import build_in_turn, write_recipe
from tests.test_docs import write_goemotions
from validators.errors import InputError
from validators.taxonomy import builtin_taxonomy

TAXONOMY = builtin_taxonomy("goemotions")
FEW = ("utterances.rows=28", "utterances.contextual_rows=8", "utterances.tries=2", "loop={rank: 28, score: 0.0}")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("reader")
    write_goemotions(folder / "data", TAXONOMY, {"train": 12, "dev": 4})
    train, dev = (
        read_labelled(LabelledSpec.parse(str(folder / "data" / f"{name}.tsv")), TAXONOMY.names)
        for name in ("train", "dev")
    )
    encoder = open_encoder(EncoderSettings("hashed"))
    train_reader(train, dev, taxonomy=TAXONOMY, encoder=encoder, folder=folder / "head", encoder_licence="Apache-2.0")
    return folder / "head"


@pytest.mark.parametrize(
    "reader",
    ["{backend: descriptions}", "{backend: chat}", "{backend: ensemble, members: [{backend: descriptions}, "
     "{backend: chat}]}", "{backend: chat, chat: {backend: echo, name: judge}}"],
)  # fmt: skip
def test_a_reader_without_labelled_data_reads_all_texts_of_a_release(recipe, tmp_path, reader):
    import pyarrow.dataset as ds

    release = build_in_turn(recipe, tmp_path / "out", f"reader={reader}", *FEW)
    assert verify_release(tmp_path / "out") == []
    rows = ds.dataset(tmp_path / "out" / "data").to_table().to_pylist()
    assert len(rows) == release.kept > 0
    assert all(row["perceived"] and row["realised"] for row in rows)
    contextual = [row for row in rows if row["context"]]
    assert all(row["perceived_in_context"] and row["perceived_ambiguous_in_context"] for row in contextual)


def test_a_trained_head_reads_and_decides_the_identity(recipe, head, tmp_path):
    reader = (f"reader={{backend: head, path: {head}}}",)
    release = build_in_turn(recipe, tmp_path / "out", *reader, *FEW)
    assert release.kept > 0
    version = read_inputs(load_recipe(recipe, reader)).identity["versions.reader"]
    assert version.startswith('"head:')
    assert str(head) not in (tmp_path / "out" / "README.md").read_text()


def test_a_head_of_another_encoder_or_taxonomy_is_refused_with_what_differs(recipe, head, tmp_path):
    reader = f"reader={{backend: head, path: {head}}}"
    with pytest.raises(InputError, match=r"lacks|other labels"):
        build_in_turn(recipe, tmp_path / "other", reader, "taxonomy=deepdialogue", "utterances.rows=20")
    with pytest.raises(InputError, match="no trained reader"):
        read_inputs(load_recipe(recipe, [f"reader={{backend: head, path: {tmp_path}}}"]))
