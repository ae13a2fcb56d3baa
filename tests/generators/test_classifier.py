# SPDX-License-Identifier: Apache-2.0
"""A sequence classifier as a reader, on a BERT of a few thousand random weights that is made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generators.backends.classifier import MULTI_LABEL, SINGLE_LABEL, ClassifierSettings, open_classifier
from validators.errors import InputError, ModelError
from validators.roles import Passage

LABELS = ("Joy", "fear", "anger", "neutral")
TEXTS = ["I am glad.", "Run!", "", "I left the lantern by the gate and went home."]
PASSAGES = [*map(Passage, TEXTS), Passage("Run!", "The dog is loose.")]
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


def make_model(folder: Path, problem_type: str | None = MULTI_LABEL, labels: tuple[str, ...] = LABELS) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "am", "glad", "run", "!", ".", "the", "dog", "is"]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        problem_type=problem_type,
        initializer_range=0.5,  # 0.02, as for training, would give all texts the same scores
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)  # safetensors
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ClassifierSettings:
    return ClassifierSettings(
        "tiny", make_model(tmp_path_factory.mktemp("tiny")), "0" * 12, batch_rows=2, max_tokens=32
    )


@pytest.mark.parametrize("problem_type", [MULTI_LABEL, SINGLE_LABEL, None])
def test_scores_follow_the_problem_type(problem_type: str | None, tmp_path: Path) -> None:
    reader = open_classifier(
        ClassifierSettings("tiny", make_model(tmp_path, problem_type)), ("neutral", "joy", "anger", "fear")
    )
    scores = reader.read(PASSAGES)
    assert scores.shape == (5, 4)
    assert ((scores >= 0) & (scores <= 1)).all()
    sums_to_one = np.allclose(scores.sum(axis=1), 1)
    assert sums_to_one == (problem_type != MULTI_LABEL)
    np.testing.assert_allclose(reader.thresholds, 0.5)  # twice the even share of four labels is one half too
    reader.close()


def test_columns_are_those_of_the_taxonomy(settings: ClassifierSettings) -> None:
    ours = open_classifier(settings, ("fear", "joy", "neutral", "anger")).read(PASSAGES)
    theirs = open_classifier(settings, LABELS).read(PASSAGES)
    np.testing.assert_allclose(ours, theirs[:, [1, 0, 3, 2]])


def test_neither_order_nor_batch_plays_a_part(settings: ClassifierSettings) -> None:
    reader = open_classifier(settings, LABELS)
    scores = reader.read(PASSAGES)
    np.testing.assert_allclose(reader.read(PASSAGES[::-1])[::-1], scores, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([reader.read([one]) for one in PASSAGES]), scores, atol=1e-6)
    assert reader.read([]).shape == (0, 4)
    assert reader.model == "tiny@000000000000"
    assert np.abs(scores[1] - scores[4]).max() > 0  # the situation counts


def test_a_long_situation_does_not_push_the_line_out(settings: ClassifierSettings) -> None:
    reader = open_classifier(settings, LABELS)
    glad, run = reader.read([Passage("I am glad.", "the dog is " * 50), Passage("Run!", "the dog is " * 50)])
    assert np.abs(glad - run).max() > 1e-4


def test_a_map_names_the_models_labels_and_null_leaves_one_out(settings: ClassifierSettings) -> None:
    mapped = replace(settings, label_map={"delight": "joy", "rage": "Anger", "awe": None})
    scores = open_classifier(mapped, ("delight", "rage", "awe")).read(PASSAGES)
    np.testing.assert_allclose(scores[:, :2], open_classifier(settings, LABELS).read(PASSAGES)[:, [0, 2]])
    assert not scores[:, 2].any()


@pytest.mark.parametrize(
    ("labels", "label_map", "message"),
    [
        (("joy", "awe", "envy"), {}, "the model has no label for awe, envy"),
        (("joy", "fear"), {"fear": "terror"}, "the model has no label for fear"),
        (("joy", "fear"), {"Joy": "joy"}, "label_map names 'Joy', which the taxonomy lacks"),
        (("awe", "envy"), {"awe": None, "envy": None}, "of every label that the model has none"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, label_map, message: str, settings: ClassifierSettings) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_classifier(replace(settings, label_map=label_map), labels)
    assert "The model's labels: Joy, fear, anger, neutral" in caught.value.next_step


def test_a_regression_a_headless_model_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    from transformers import BertModel

    regression = make_model(tmp_path / "regression", "regression")
    with pytest.raises(InputError, match="no classifier of labels: regression"):
        open_classifier(ClassifierSettings("m", regression), LABELS)
    headless = make_model(tmp_path / "headless")
    BertModel.from_pretrained(headless).save_pretrained(headless)
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias"):
        open_classifier(ClassifierSettings("m", headless), LABELS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot load m"):
        open_classifier(ClassifierSettings("m", tmp_path / "empty"), LABELS)
    with pytest.raises(InputError, match="needs weights"):
        open_classifier(ClassifierSettings("m"), LABELS)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    import torch
    from transformers import BertForSequenceClassification

    folder = make_model(tmp_path / "pickled")
    weights = BertForSequenceClassification.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load"):
        open_classifier(ClassifierSettings("m", folder), LABELS)
