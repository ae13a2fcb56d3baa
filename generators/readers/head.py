# SPDX-License-Identifier: Apache-2.0
"""The `head` reader: linear models on sentence embeddings and n-grams, calibrated on rows that they did not see.

For each label there are a logistic regression on n-grams (features.py) and a ridge regression on the embedding. Their
outputs a and b become one probability, expit(c + u a + v b), fitted on out-of-fold outputs: stacking (Wolpert 1992)
and Platt scaling (Platt 1999) in one. u and v are drawn towards those of all labels together, the more the fewer rows
a label has.

Measured on GoEmotions, trained on train.tsv (43,410 rows), read dev.tsv (28 labels, macro AUC and macro F1): ridge on
MiniLM embeddings alone 0.877 and 0.41, n-grams alone 0.909 and 0.52, both 0.922 and 0.52, all at the best threshold of
the data read; with the thresholds found here on training rows 0.50. One logistic regression on both kinds of features
is no better and takes five times as long.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

from generators.readers.features import NgramFeatures
from validators.errors import ModelError
from validators.readings import SCORE_DIGITS
from validators.roles import Encoder, Passage

CONTEXT_WORDS = 100
"""How much of a context is read, from its end: an encoder cuts what is too long at the end, where the text itself is
(MiniLM reads 256 tokens)."""

Floats = NDArray[np.float64]
OnStep = Callable[[str, int, int], None]
"""Called with the name of a stage, the steps done and the steps of the whole stage."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadState:
    """All numbers of a head. `columns` are those of `NgramFeatures.of`, `dimensions` those of the encoder."""

    features: NgramFeatures
    ngram_weights: Floats
    """Shape (columns, labels)."""
    ngram_intercepts: Floats
    """Shape (labels,)."""
    embedding_weights: Floats
    """Shape (dimensions, labels), scaled so that the output has mean 0 and variance 1 over the training rows."""
    embedding_intercepts: Floats
    """Shape (labels,)."""
    combination: Floats
    """Shape (labels, 3): c, u and v of each label."""
    thresholds: Floats
    """Shape (labels,), each between 0 and 1 exclusive."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All of it by name, as it is stored. Weights of n-grams are float32, exactly: training rounds them."""
        features = self.features
        return {
            "word_columns": features.word_columns,
            "word_idf": features.word_idf,
            "character_columns": features.character_columns,
            "character_idf": features.character_idf,
            "ngram_weights": self.ngram_weights.astype(np.float32),
            "ngram_intercepts": self.ngram_intercepts,
            "embedding_weights": self.embedding_weights,
            "embedding_intercepts": self.embedding_intercepts,
            "combination": self.combination,
            "thresholds": self.thresholds,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], n_labels: int) -> "HeadState":
        """Read what `arrays` gave. Raises ModelError where an array is missing, misshapen or not finite."""
        wide = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
        try:
            columns = {name: arrays[name].astype(np.int32) for name in ("word_columns", "character_columns")}
            features = NgramFeatures(
                columns["word_columns"], wide["word_idf"], columns["character_columns"], wide["character_idf"]
            )
            state = cls(
                features, wide["ngram_weights"], wide["ngram_intercepts"], wide["embedding_weights"],
                wide["embedding_intercepts"], wide["combination"], wide["thresholds"],
            )  # fmt: skip
        except KeyError as error:
            raise ModelError(f"the reader lacks the array {error}", next_step="Train it again.") from error
        shapes = {
            "word_idf": (len(features.word_columns),),
            "character_idf": (len(features.character_columns),),
            "ngram_weights": (features.dimensions, n_labels),
            "ngram_intercepts": (n_labels,),
            "embedding_weights": (wide["embedding_weights"].shape[0], n_labels),
            "embedding_intercepts": (n_labels,),
            "combination": (n_labels, 3),
            "thresholds": (n_labels,),
        }
        for name, shape in shapes.items():
            if wide[name].shape != shape or not np.isfinite(wide[name]).all():
                raise ModelError(
                    f"the array {name} of the reader has shape {wide[name].shape}, expected {shape} of finite numbers",
                    next_step="Train it again.",
                )
        return state


class HeadReader:
    """A trained head with its encoder; satisfies `validators.roles.Reader`. The encoder belongs to who opened it."""

    def __init__(self, name: str, labels: Sequence[str], encoder: Encoder, state: HeadState) -> None:
        self.labels = tuple(labels)
        self.name = name
        self.encoder = encoder
        self.state = state
        self.model = f"{name}@{head_sha256(self.labels, encoder.model, state)}"

    @property
    def thresholds(self) -> Floats:
        """From which score on a label counts as found; chosen on out-of-fold scores of the training rows."""
        return self.state.thresholds

    def read(self, passages: Sequence[Passage]) -> Floats:
        """Scores of shape (len(passages), labels), rounded to `SCORE_DIGITS`; a passage's do not hang on the others.

        A passage with a context is read twice, the text alone and after the end of its context, and its log odds are
        the mean of both: one text of both would mostly be context, and the head was trained on short texts alone. On
        882 feelings of FairytaleQA, three sentences as text and the section before them as context, macro AUC and
        top-3 are 0.626 and .196 without the context, 0.630 and .168 joined, 0.632 and .188 as here.
        """
        logits = self._logits([passage.text for passage in passages])
        behind = [row for row, passage in enumerate(passages) if passage.context]
        if behind:
            joined = self._logits([after_context(passages[row]) for row in behind])
            logits[behind] = (logits[behind] + joined) / 2
        scores: Floats = np.round(expit(logits), SCORE_DIGITS)
        return scores

    def close(self) -> None:
        """Hold nothing of its own."""

    def _logits(self, texts: Sequence[str]) -> Floats:
        if not texts:
            return np.zeros((0, len(self.labels)))
        # One by one: in a batch a text is padded to the longest, which changes the last bits of its embedding, and a
        # score that lies between two roundings with them. It takes twice as long (14 ms a text instead of 7).
        embeddings = np.concatenate([self.encoder.encode([text]) for text in texts]).astype(np.float64)
        expected = self.state.embedding_weights.shape[0]
        if embeddings.shape[1] != expected:
            raise ModelError(
                f"{self.encoder.model} gives {embeddings.shape[1]} dimensions, the reader was trained on {expected}",
                where=self.name,
                next_step="Open the reader with the encoder that it was trained with.",
            )
        return combine(*outputs(self.state, self.state.features.of(texts), embeddings), self.state.combination)


def after_context(passage: Passage) -> str:
    """The last words of the context, then the text."""
    words = (passage.context or "").split()[-CONTEXT_WORDS:]
    return " ".join([*words, passage.text])


def outputs(state: HeadState, ngrams: csr_matrix, embeddings: Floats) -> tuple[Floats, Floats]:
    """What the two models of each label give, each of shape (rows, labels)."""
    by_ngrams = ngrams @ state.ngram_weights + state.ngram_intercepts
    # row by row: a product of matrices sums in another order for another number of rows
    by_embedding = np.stack([row @ state.embedding_weights for row in embeddings]) + state.embedding_intercepts
    return by_ngrams, by_embedding


def combine(by_ngrams: Floats, by_embedding: Floats, combination: Floats) -> Floats:
    """Log odds of shape (rows, labels)."""
    constant, on_ngrams, on_embedding = combination.T
    logits: Floats = constant + on_ngrams * by_ngrams + on_embedding * by_embedding
    return logits


def head_sha256(labels: Sequence[str], encoder: str, state: HeadState) -> str:
    """Hash of everything that decides a score."""
    digest = hashlib.sha256(json.dumps([list(labels), encoder], ensure_ascii=False).encode())
    for name, array in state.arrays().items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
