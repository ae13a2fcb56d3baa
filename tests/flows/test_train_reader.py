# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows import cli_readers
from flows.reader_evaluation import evaluate_reader
from flows.readers_store import ARRAYS, CARD, RECORD, load_reader, load_record, reader_sha256
from flows.told_feelings import fairytaleqa_agreement
from flows.train_reader import train_reader
from generators.backends.registry import open_encoder
from generators.encoder import EncoderSettings
from generators.readers.echo import EchoReader
from generators.readers.head import HeadReader
from tests.readers import LABELS, made_up, taxonomy
from validators.errors import InputError, StorageError
from validators.roles import Encoder, Passage
from validators.taxonomy import builtin_taxonomy

# the real data is not part of the repository; clone it and name the folder to run the test that reads it
REAL = Path(os.environ.get("FAIRYTALEQA", Path(__file__).parents[3] / "shared" / "data" / "fairytaleqa"))


def hashed(name: str = "hashed") -> Encoder:
    return open_encoder("hashed", EncoderSettings(name))


def train(folder, *, evaluation=None, **options):
    evaluation = evaluation or made_up(120, seed=2)
    options = {"taxonomy": taxonomy(), "encoder": hashed(), "folder": folder} | options
    return train_reader(made_up(200, seed=1), evaluation, **options)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers") / "made-up"
    return folder, train(folder).reader


def test_a_saved_reader_comes_back_to_the_bit(saved):
    folder, reader = saved
    assert sorted(file.name for file in folder.iterdir()) == sorted((ARRAYS, CARD, RECORD))
    back = load_reader(folder, taxonomy(), hashed())
    assert back.model == reader.model == f"head-made-up-1@{reader_sha256(folder)}"
    passages = [Passage(text, "she died") for text in made_up(50, seed=3).texts]
    np.testing.assert_array_equal(back.read(passages), reader.read(passages))
    np.testing.assert_array_equal(back.thresholds, reader.thresholds)


def test_the_record_says_what_it_was_made_of(saved):
    record = load_record(saved[0])
    assert (record.data.name, record.data.rows, record.data.licence) == ("made-up-1", 200, "CC0-1.0")
    assert record.evaluation is not None
    assert record.evaluation.sha256 == made_up(120, seed=2).sha256
    assert record.encoder == "hashed"
    assert "scikit-learn" in record.versions
    assert json.loads((saved[0] / RECORD).read_text())["figures"]["agreement"]["rows"] == 120


def test_the_card_has_the_figures_of_every_label_and_no_path(saved):
    card = (saved[0] / CARD).read_text()
    for word in (*LABELS, "macro AUC", "macro F1", "micro F1", "calibration error", "made-up-2, 120 rows"):
        assert word in card
    assert str(saved[0].parent) not in card
    assert "nan" not in card.lower().replace("finance", "")


def test_the_same_data_makes_the_same_files(saved, tmp_path):
    train(tmp_path / "again")
    for name in (ARRAYS, CARD, RECORD):
        assert (tmp_path / "again" / name).read_bytes() == (saved[0] / name).read_bytes()


def test_labels_with_one_class_are_left_out_by_name(tmp_path):
    evaluation = made_up(120, seed=2)
    evaluation.targets[:, LABELS.index("fear")] = 0
    trained = train(tmp_path / "reader", evaluation=evaluation)
    card = (tmp_path / "reader" / CARD).read_text()
    assert trained.agreement.one_class == ("fear",)
    assert trained.agreement.macro_auc is not None
    assert "left out of the means: fear." in card
    assert "| fear | not measured | not measured |" in card
    assert "NaN" not in (tmp_path / "reader" / RECORD).read_text()


def test_data_on_which_nothing_can_be_measured_is_told_before_training(tmp_path):
    evaluation = made_up(30, seed=2)
    evaluation.targets[:] = [1, 0, 0, 0]
    with pytest.raises(InputError, match="Nothing can be measured on made-up-2"):
        train(tmp_path / "reader", evaluation=evaluation)
    with pytest.raises(InputError, match="Nothing can be measured"):
        evaluate_reader(EchoReader(LABELS), evaluation)
    assert not (tmp_path / "reader").exists()


def test_labels_other_than_those_of_the_taxonomy_are_named(saved, tmp_path):
    other = taxonomy(("joy", "awe", "grief", "neutral"))
    with pytest.raises(InputError, match="lacks awe and it has fear beyond"):
        load_reader(saved[0], other, hashed())
    with pytest.raises(InputError, match="lacks awe"):
        train(tmp_path / "reader", taxonomy=other)
    with pytest.raises(InputError, match="order differs"):
        load_reader(saved[0], taxonomy(LABELS[::-1]), hashed())
    with pytest.raises(InputError, match="lacks awe"):
        evaluate_reader(EchoReader(other.names), made_up(30, seed=2))


def test_another_encoder_is_refused(saved):
    with pytest.raises(InputError, match="trained with the encoder hashed, not other"):
        load_reader(saved[0], taxonomy(), hashed("other"))


def test_damaged_and_changed_files_are_refused(tmp_path):
    folder = tmp_path / "reader"
    train(folder)
    arrays, record = (folder / ARRAYS).read_bytes(), (folder / RECORD).read_text()

    (folder / ARRAYS).write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(StorageError, match="is damaged"):
        load_reader(folder, taxonomy(), hashed())
    (folder / ARRAYS).write_bytes(arrays)

    changed = json.loads(record)
    changed["thresholds"]["joy"] = 0.5
    (folder / RECORD).write_text(json.dumps(changed))
    with pytest.raises(StorageError, match="was changed"):
        load_reader(folder, taxonomy(), hashed())

    (folder / RECORD).write_text(record[: len(record) // 2])
    with pytest.raises(InputError, match="is damaged"):
        load_reader(folder, taxonomy(), hashed())

    (folder / RECORD).unlink()
    with pytest.raises(InputError, match="holds no trained reader"):
        load_reader(folder, taxonomy(), hashed())
    train(folder)  # what a training that did not end has left is written over


def test_a_folder_that_is_taken_is_refused_before_training(saved, tmp_path):
    with pytest.raises(InputError, match="holds a trained reader"):
        train(saved[0])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"something other than a reader: notes\.txt"):
        train(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        train(tmp_path / "notes.txt")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / CARD).write_text("mine")
    with pytest.raises(InputError, match="something other than a reader"):
        train(tmp_path / "mine")


def test_texts_that_both_data_hold_are_told_in_the_card(tmp_path):
    train(tmp_path / "reader", evaluation=made_up(200, seed=1).take(range(40)))
    assert "40 of these texts occur in the training data too" in (tmp_path / "reader" / CARD).read_text()


QUESTIONS = """\
question_id,local-or-sum,cor_section,attribute1,attribute2,question,ex-or-im1,answer1
1,local,1,feeling,,How did the fox feel?,explicit,happy
2,local,2,feeling,,How did the hen feel?,explicit,afraid
3,local,2,feeling,,How did the wolf feel?,explicit,warm
4,local,2,action,,What did the hen do?,explicit,ran
"""


def fairytales(folder, questions=QUESTIONS):
    texts = {
        "section-stories/f/fox-story.csv": "section,text\n1,hooray we won said the fox\n2,lock the door cried a hen\n",
        "questions/f/fox-questions.csv": questions,
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


WORDS = taxonomy().model_copy(update={"labels": tuple(builtin_taxonomy("goemotions").label(name) for name in LABELS)})
"""The labels of the made-up data with all words that name them."""


def test_agreement_with_what_people_said_of_characters(saved, tmp_path):
    reader = HeadReader("head", LABELS, saved[1].encoder, saved[1].state)
    found = fairytaleqa_agreement(reader, fairytales(tmp_path / "tales"), WORDS)
    assert (found.feelings, found.questions, found.labels) == (2, 3, 2)
    assert (found.top_1, found.top_3, found.common_1, found.common_3, found.macro_auc) == (1, 1, 0.5, 1, 1)
    trained = train(tmp_path / "reader", fairytaleqa=tmp_path / "tales", taxonomy=WORDS)
    assert trained.feelings is not None
    assert "| always the commonest | 50.0% | 100.0% |" in (tmp_path / "reader" / CARD).read_text()


def test_answers_without_a_label_are_told(saved, tmp_path):
    with pytest.raises(InputError, match="No answer"):
        fairytaleqa_agreement(saved[1], fairytales(tmp_path, QUESTIONS.replace("feeling", "action")), WORDS)
    with pytest.raises(InputError, match="No answer"):  # before minutes of training
        train(tmp_path / "reader", fairytaleqa=tmp_path, taxonomy=WORDS)
    assert not (tmp_path / "reader").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs FairytaleQA at {REAL}, or the variable FAIRYTALEQA")
def test_agreement_on_fairytaleqa_of_a_reader_that_knows_nothing_is_chance():
    taxonomy = builtin_taxonomy("goemotions")
    found = fairytaleqa_agreement(EchoReader(taxonomy.names), REAL, taxonomy)
    assert found.feelings > 500
    assert found.top_1 == pytest.approx(1 / 28, abs=0.03)
    assert found.top_3 == pytest.approx(3 / 28, abs=0.05)
    assert found.macro_auc == pytest.approx(0.5, abs=0.12)
    assert found.common_1 > 0.1


@pytest.fixture
def command():
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_readers.register(app)
    return lambda *arguments: CliRunner().invoke(app, ["train-reader", *map(str, arguments)])


def rows_file(folder, name, rows, seed):
    data = made_up(rows, seed=seed, labels=("joy", "fear", "grief", "neutral"))
    lines = [
        json.dumps({"text": text, "label": [data.labels[column] for column in np.flatnonzero(row)]})
        for text, row in zip(data.texts, data.chosen, strict=True)
    ]
    (folder / name).write_text("\n".join(lines))
    return folder / name


def test_the_command_trains_measures_and_writes(tmp_path, command):
    (tmp_path / "labels.yaml").write_text(json.dumps(taxonomy().model_dump(mode="json")))
    rows, real = rows_file(tmp_path, "rows.jsonl", 150, 1), rows_file(tmp_path, "real.jsonl", 80, 2)
    options = (rows, "--eval", real, "--taxonomy", tmp_path / "labels.yaml", "--hashed", "--licence", "CC0-1.0")
    told = command(*options, "--output", tmp_path / "reader", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["agreement"]["macro_auc"]["estimate"] > 0.8
    assert load_record(tmp_path / "reader").data.licence == "CC0-1.0"
    told = command(*options, "--output", tmp_path / "other")
    assert "macro AUC" in told.stdout
    assert "training: 6/6" in told.stdout
    told = command(*options, "--output", tmp_path / "other")
    assert isinstance(told.exception, InputError)
    told = command(*options, "--output", tmp_path / "third", "--encoder-package", "all-minilm-l6-v2")
    assert "Several encoders" in str(told.exception)
