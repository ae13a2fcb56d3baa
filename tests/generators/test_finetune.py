# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning, on a tiny BERT with random weights that is made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generators.backends.finetune import FinetuneSettings, finetune, load_finetuned
from generators.students import FinetunedStudent
from validators.errors import InputError, ModelError

WORDS = ("lantern", "ocean", "gravel", "slow", "green", "tall", "late")
TEXTS = [f"{WORDS[3 + n % 4]} {WORDS[n % 3]} {WORDS[3 + n // 4 % 4]}" for n in range(20)]
TARGETS = np.eye(3)[[n % 3 for n in range(20)]]
SETTINGS = FinetuneSettings(min_steps=60, batch_rows=8, learning_rate=2e-3, head_learning_rate=1e-2, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and 32 dimensions, with a tokenizer of the words above."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(path / "vocab.txt")).save_pretrained(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(path)
    return path


def test_it_learns_twenty_rows_by_heart(folder: Path) -> None:
    losses: list[tuple[int, int, float]] = []
    model = finetune(folder, TEXTS, TARGETS, SETTINGS, lambda *step: losses.append(step))
    scores = model.scores(TEXTS)
    assert scores.shape == (20, 3)
    assert ((scores > 0.5) == (TARGETS > 0)).all()
    assert [step for step, _, _ in losses] == list(range(1, 61))
    assert {total for _, total, _ in losses} == {60}
    assert losses[-1][2] < losses[0][2] / 3


def test_the_seed_decides(folder: Path) -> None:
    import torch

    short = replace(SETTINGS, min_steps=9, epochs=1)
    threads, drawn = torch.get_num_threads(), torch.get_rng_state()
    first = finetune(folder, TEXTS, TARGETS, short).scores(TEXTS)
    np.testing.assert_array_equal(finetune(folder, TEXTS, TARGETS, short).scores(TEXTS), first)
    other = finetune(folder, TEXTS, TARGETS, replace(short, seed=2)).scores(TEXTS)
    assert np.abs(other - first).max() > 1e-3
    # what else runs in this process keeps its threads and its random numbers
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), drawn)


def test_soft_targets_teach_probabilities(folder: Path) -> None:
    soft = 0.1 + 0.6 * TARGETS
    scores = finetune(folder, TEXTS, soft, SETTINGS).scores(TEXTS)
    hard = finetune(folder, TEXTS, TARGETS, SETTINGS).scores(TEXTS)
    # the weight of positives is taken off again: 0.1 and 0.7 come back, not their odds times the weight
    np.testing.assert_allclose(scores, soft, atol=0.12)
    assert np.abs(hard - scores).max() > 0.15


def test_the_encoder_itself_is_trained(folder: Path) -> None:
    before = finetune(folder, TEXTS, TARGETS, replace(SETTINGS, learning_rate=0.0)).state()
    after = finetune(folder, TEXTS, TARGETS, SETTINGS).state()
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    assert np.abs(after[name] - before[name]).max() > 1e-3
    assert set(before) == set(after)


def test_state_comes_back(folder: Path) -> None:
    model = finetune(folder, TEXTS, TARGETS, replace(SETTINGS, min_steps=9))
    state = model.state()
    assert state["head.weight"].shape == (3, 32)
    loaded = load_finetuned(folder, state, SETTINGS)
    np.testing.assert_array_equal(loaded.scores(TEXTS), model.scores(TEXTS))
    np.testing.assert_allclose(loaded.scores(TEXTS[::-1])[::-1], model.scores(TEXTS), atol=1e-6)
    with pytest.raises(InputError, match="do not fit"):
        load_finetuned(folder, {name: value for name, value in state.items() if "layer.1" not in name}, SETTINGS)
    with pytest.raises(InputError, match="no weight"):
        load_finetuned(folder, state | {"other.x": state["head.bias"]}, SETTINGS)
    with pytest.raises(InputError, match="are missing"):
        load_finetuned(folder, {name: value for name, value in state.items() if "head" not in name}, SETTINGS)


def test_the_student_leaves_out_labels_without_positives(folder: Path) -> None:
    targets = np.insert(TARGETS, 0, 0.0, axis=1)
    predictor = FinetunedStudent(folder, replace(SETTINGS, min_steps=9)).fit(TEXTS, targets)
    assert predictor.without_positives == (0,)
    assert (predictor(TEXTS)[:, 0] == 0).all()
    assert (predictor(TEXTS)[:, 1:] > 0).all()
    assert predictor.note == "12 steps"


def test_a_folder_without_safetensors_and_a_loss_that_explodes_are_errors(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle that nobody opens")
    with pytest.raises(ModelError, match="cannot load"):
        finetune(tmp_path, TEXTS, TARGETS, SETTINGS)
    with pytest.raises(ModelError, match="the loss became"):
        finetune(folder, TEXTS, TARGETS, replace(SETTINGS, learning_rate=1e30))
