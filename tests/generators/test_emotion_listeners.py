# SPDX-License-Identifier: Apache-2.0
"""What every listener for emotion owes its caller, on a wav2vec 2.0 of random weights that is made here."""

from pathlib import Path

import numpy as np
import pytest

from generators.backends.classifier import ClassifierSettings
from generators.backends.registry import open_emotion_listener
from validators.errors import InputError, ModelError
from validators.roles import Sound

LABELS = ("neutral", "joy", "anger", "remorse")
THEIRS = ("ang", "Joy", "neu")
MAP: dict[str, str | None] = {"anger": "ang", "neutral": "neu"}
pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


def sound(hz: float, rate: int = 24_000) -> Sound:
    time_s = np.arange(rate) / rate
    return Sound((0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32), rate, "en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny")
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(enumerate(THEIRS)),
        label2id={label: place for place, label in enumerate(THEIRS)},
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    return folder


@pytest.fixture(params=["echo", "audio_classifier"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(folder: Path, label_map: dict[str, str | None]) -> ClassifierSettings:
    return ClassifierSettings("tiny", folder, "0" * 12, label_map=label_map)


def test_scores_are_probabilities_of_the_labels_that_it_knows(backend: str, folder: Path) -> None:
    listener = open_emotion_listener(backend, settings(folder, {**MAP, "remorse": None}), LABELS)
    assert listener.labels == ("neutral", "joy", "anger")
    assert listener.thresholds.shape == (3,)
    scores = listener.hear(sound(200))
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(scores, listener.hear(sound(200)))
    assert not np.allclose(scores, listener.hear(sound(900)), atol=1e-6)
    listener.close()


def test_a_label_without_an_entry_is_not_known(folder: Path) -> None:
    listener = open_emotion_listener("audio_classifier", settings(folder, {"anger": "ang"}), LABELS)
    assert listener.labels == ("joy", "anger")


def test_the_rate_of_the_sound_does_not_matter(folder: Path) -> None:
    listener = open_emotion_listener("audio_classifier", settings(folder, MAP), LABELS)
    np.testing.assert_allclose(listener.hear(sound(200)), listener.hear(sound(200, 16_000)), atol=0.02)


@pytest.mark.parametrize(
    ("labels", "label_map", "message"),
    [
        (LABELS, {"joy": "hap"}, "no label for joy"),
        (LABELS, {"rage": "ang"}, "rage"),
        (("fear",), {}, "no label for fear"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    folder: Path, labels: tuple[str, ...], label_map: dict[str, str | None], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_emotion_listener("audio_classifier", settings(folder, label_map), labels)
    assert "ang, Joy, neu" in caught.value.next_step


def test_a_folder_without_a_model_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load") as caught:
        open_emotion_listener("audio_classifier", settings(tmp_path, {}), LABELS)
    assert "preprocessor_config.json" in caught.value.next_step
