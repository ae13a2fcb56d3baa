# SPDX-License-Identifier: Apache-2.0
"""The head reader: it learns, it is calibrated, and its scores are the same whatever they are read with."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import open_encoder
from generators.encoder import EncoderSettings
from generators.readers.features import NgramFeatures
from generators.readers.head import CONTEXT_WORDS, HeadReader, HeadState, after_context, head_sha256
from generators.readers.training import HeadSettings, train_head
from tests.readers import LABELS, made_up
from validators.errors import InputError, ModelError
from validators.label_metrics import calibration_error, f1, roc_auc
from validators.roles import Encoder, Passage, Reader

ENCODERS = ["hashed", pytest.param("sentence", marks=pytest.mark.model)]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, weights_cache: Path) -> Encoder:
    if request.param == "hashed":
        return open_encoder("hashed", EncoderSettings("hashed"))
    found = resolve_weights(WeightsSpec(package="all-minilm-l6-v2"), cache=weights_cache)
    return open_encoder("sentence", EncoderSettings(found.name, found.revision, found.path))


@pytest.fixture(scope="module")
def reader(encoder: Encoder) -> Iterator[HeadReader]:
    reader = train_head(made_up(300, seed=1), encoder)
    yield reader
    reader.close()


def read(reader: Reader, texts: Sequence[str]) -> np.ndarray:
    return reader.read([Passage(text) for text in texts])


def test_it_finds_the_labels_of_texts_that_it_has_not_seen(reader: HeadReader) -> None:
    test = made_up(300, seed=2)
    scores = read(reader, test.texts)
    assert scores.shape == test.targets.shape
    assert reader.labels == LABELS
    assert roc_auc(test.chosen, scores).min() > 0.85
    assert f1(test.chosen, scores, reader.thresholds).min() > 0.6
    assert calibration_error(test.chosen, scores).max() < 0.12
    assert ((reader.thresholds > 0) & (reader.thresholds < 1)).all()


def test_a_score_does_not_hang_on_what_is_read_with_it(reader: HeadReader) -> None:
    passages = [Passage(text, context) for text in made_up(12, seed=3).texts for context in (None, "It was late. " * 9)]
    together = reader.read(passages)
    alone = np.concatenate([reader.read([passage]) for passage in passages])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], reader.read(passages[::-1]))
    np.testing.assert_array_equal(together, np.round(together, 4))
    assert reader.read([]).shape == (0, len(LABELS))


def test_the_context_counts_and_so_does_the_text(reader: HeadReader) -> None:
    joy, grief = "what a wonderful day, hooray", "she died and I weep"
    scores = reader.read([Passage(joy), Passage(joy, grief), Passage(grief, joy), Passage(grief), Passage(joy, "")])
    on_grief = scores[:, LABELS.index("grief")]
    assert on_grief[0] < on_grief[1] < on_grief[3]
    assert on_grief[0] < on_grief[2] <= on_grief[3]
    np.testing.assert_array_equal(scores[0], scores[4])


def test_the_end_of_a_long_context_is_read_and_never_at_the_cost_of_the_text() -> None:
    joined = after_context(Passage("the text", " ".join(str(number) for number in range(1000)))).split()
    assert joined[-3:] == ["999", "the", "text"]
    assert len(joined) == CONTEXT_WORDS + 2


@pytest.mark.parametrize("text", ["", " ", "😂", "é日本", "x" * 5000, "!?", "0"])
def test_any_text_has_scores(reader: HeadReader, text: str) -> None:
    scores = read(reader, [text])
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_same_data_makes_the_same_reader(reader: HeadReader) -> None:
    again = train_head(made_up(300, seed=1), reader.encoder, HeadSettings(threads=3))
    assert again.model == reader.model
    assert train_head(made_up(300, seed=1), reader.encoder, HeadSettings(seed=5)).model != reader.model


def test_arrays_bring_back_the_same_reader(reader: HeadReader) -> None:
    arrays = {name: array.copy() for name, array in reader.state.arrays().items()}
    back = HeadReader(reader.name, reader.labels, reader.encoder, HeadState.from_arrays(arrays, len(LABELS)))
    assert back.model == reader.model
    texts = made_up(40, seed=4).texts
    np.testing.assert_array_equal(read(back, texts), read(reader, texts))


def test_the_hash_is_of_labels_encoder_and_every_number(reader: HeadReader) -> None:
    hashes = {head_sha256(reader.labels, "hashed", reader.state), head_sha256(reader.labels, "other", reader.state)}
    hashes.add(head_sha256(reader.labels[::-1], "hashed", reader.state))
    hashes.add(head_sha256(reader.labels, "hashed", replace(reader.state, thresholds=reader.thresholds + 1e-9)))
    assert len(hashes) == 4


@pytest.mark.parametrize("name", ["word_idf", "ngram_weights", "combination", "thresholds"])
def test_arrays_that_do_not_fit_are_refused(reader: HeadReader, name: str) -> None:
    arrays = reader.state.arrays()
    with pytest.raises(ModelError, match=name):
        HeadState.from_arrays(arrays | {name: arrays[name][:-1]}, len(LABELS))
    with pytest.raises(ModelError, match=name):
        HeadState.from_arrays(arrays | {name: np.full_like(arrays[name], np.nan)}, len(LABELS))
    with pytest.raises(ModelError, match=name):
        HeadState.from_arrays({key: array for key, array in arrays.items() if key != name}, len(LABELS))


def test_soft_targets_are_learnt_as_shares() -> None:
    data = made_up(200, seed=6)
    soft = replace(data, targets=data.targets * 0.8)
    hashed = open_encoder("hashed", EncoderSettings("hashed"))
    scores = read(train_head(soft, hashed), data.texts)
    assert scores.mean() == pytest.approx(soft.targets.mean(), abs=0.03)


def test_a_label_with_hardly_any_row_is_told() -> None:
    data = made_up(100, seed=1)
    data.targets[:, LABELS.index("grief")] = 0
    with pytest.raises(InputError, match=r"grief \(0 of 100\)"):
        train_head(data, open_encoder("hashed", EncoderSettings("hashed")))


def test_another_encoder_is_told_by_its_dimensions(reader: HeadReader) -> None:
    class Short:
        model = "short"

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.ones((len(texts), 3), dtype=np.float32)

    with pytest.raises(ModelError, match="gives 3 dimensions"):
        read(HeadReader(reader.name, reader.labels, Short(), reader.state), ["Oh"])


def test_features_weigh_what_is_rare_and_ignore_what_was_not_seen() -> None:
    features = NgramFeatures.learn(["the cat sat"] * 6 + ["the dog ran"] * 5)
    rows = features.of(["the cat", "zzz", ""]).toarray()
    assert rows.shape == (3, features.dimensions)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([2**0.5, 0, 0])  # length 1 in each of two families
    assert features.word_idf.min() < features.word_idf.max()


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    train_head(
        made_up(60, seed=1), open_encoder("hashed", EncoderSettings("hashed")), on_step=lambda *step: told.append(step)
    )
    assert told[0] == ("encoding", 0, 60)
    assert ("encoding", 60, 60) in told
    assert told[-1] == ("training", 6, 6)
