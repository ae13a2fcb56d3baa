# SPDX-License-Identifier: Apache-2.0
"""What every encoder owes its caller, and what happens when its model breaks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import open_encoder
from generators.backends.sentence import SentenceEncoder
from generators.encoder import EncoderSettings
from validators.errors import InputError, ModelError
from validators.roles import Encoder

TEXTS = ["I left the lantern by the gate.", "", "I left the lantern near the gate!", "The sea is cold.", "é日本"]


@pytest.fixture(scope="module", params=["hashed", pytest.param("sentence", marks=pytest.mark.model)])
def encoder(request: pytest.FixtureRequest, weights_cache: Path) -> Encoder:
    if request.param == "hashed":
        return open_encoder("hashed", EncoderSettings("hashed"))
    found = resolve_weights(WeightsSpec(package="all-minilm-l6-v2"), cache=weights_cache)
    return open_encoder("sentence", EncoderSettings(found.name, found.revision, found.path, batch_rows=2))


@pytest.mark.filterwarnings("ignore")
def test_rows_have_length_one_and_keep_their_order(encoder: Encoder) -> None:
    rows = encoder.encode(TEXTS)
    assert rows.dtype == np.float32
    assert rows.shape[0] == len(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows, encoder.encode(TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], rows, atol=1e-5)
    assert rows[0] @ rows[2] > rows[0] @ rows[3]
    assert encoder.encode([]).shape == (0, rows.shape[1])
    assert encoder.model


class Broken:
    """Stands in for a sentence-transformers model."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def get_embedding_dimension(self) -> int:
        return 3

    def encode(self, texts: Sequence[str], **_: object) -> np.ndarray:
        return self.rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((2, 4)), r"shape \(2, 4\), expected \(2, 3\)"),
        (np.ones((1, 3)), r"shape \(1, 3\)"),
        (np.array([[1, 0, 0], [0, np.nan, 0]]), "not finite"),
        (np.array([[np.inf, 0, 0], [0, 1, 0]]), "not finite"),
    ],
)
def test_a_broken_model_is_an_error_and_no_vector(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SentenceEncoder(Broken(rows), EncoderSettings("m")).encode(["a", "bb"])


def test_foreign_code_and_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs weights"):
        open_encoder("sentence", EncoderSettings("m"))
    with pytest.raises(InputError, match="trust_remote_code"):
        open_encoder("sentence", EncoderSettings("m", weights=tmp_path, options={"trust_remote_code": True}))
