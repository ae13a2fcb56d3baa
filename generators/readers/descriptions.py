# SPDX-License-Identifier: Apache-2.0
"""Reads without labelled data: how near a text lies to what a taxonomy says of each label.

A label is described by three groups of sentences, made from the taxonomy alone: its name with its definition, its name
as a feeling, and the words that name it. The similarity of a text to a label is the mean, over the groups, of the
cosine with the group's mean embedding. A label whose description lies near to any text would win everywhere, so each
label's similarities are put in standard deviations above everyday lines (z-scores) before a softmax over the labels.

The situation before a line is left out: to a similarity of topics it is but more text, and what it says of the place
and the people drowns the line. Whether a line gains from its situation is for readers that can tell the two apart.

Chosen on the 4,548 lines of GoEmotions dev with one label (all-MiniLM-L6-v2; macro AUC; top-1 and top-3, mean over
labels): the definition alone 0.66 .16 .32; one group of first-person sentences raw 0.67 .26 .45; the three groups raw
0.73 .29 .46, and as here 0.78 .28 .47. z-scores over the label sentences themselves in place of everyday lines lost
.02 to .10 of top-1.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax  # type: ignore[import-untyped]

from generators.readers.everyday import EVERYDAY
from validators.errors import InputError
from validators.roles import Encoder, Passage
from validators.taxonomy import Label, Taxonomy

TEMPERATURE = 1.0  # 0.5 to 2 lie within .01 of AUC
MIN_SPREAD = 1e-3  # of the cosines with everyday lines (0.05 with MiniLM), where an encoder sees no difference at all
FOUND = 2.0
"""A label counts as found from twice its even share on: 2 / len(labels), 0.07 with 28 labels."""

Floats = NDArray[np.float64]


def describe(label: Label) -> tuple[tuple[str, ...], ...]:
    """Make the groups of sentences that stand for a label."""
    name = label.name.replace("_", " ")
    words = tuple(dict.fromkeys((name, *label.synonyms)))
    return (f"I feel {name}. {label.definition}",), (f"I am full of {name}.",), words


def even_thresholds(labels: Sequence[str]) -> Floats:
    """Thresholds for scores that sum to 1 over the labels, shape (len(labels),), each at most one half."""
    return np.full(len(labels), min(FOUND / len(labels), 0.5))


class DescriptionsReader:
    """A blind reader made of an encoder and a taxonomy; satisfies `validators.roles.Reader`.

    `background` are the lines against which similarities are measured: texts of the kind to be read, where there are
    some. The encoder belongs to whoever opened it.
    """

    def __init__(
        self,
        encoder: Encoder,
        taxonomy: Taxonomy,
        *,
        background: Sequence[str] = EVERYDAY,
        temperature: float = TEMPERATURE,
        thresholds: Floats | None = None,
    ) -> None:
        if len(set(background)) < 2:
            raise InputError(
                "a spread needs at least two different background texts",
                where="descriptions reader",
                next_step="Pass more texts, or none for the everyday lines that come with the package.",
            )
        if temperature <= 0:
            raise InputError(f"the temperature must be above 0, not {temperature:g}", where="descriptions reader")
        self.labels = taxonomy.names
        self.thresholds: Floats = even_thresholds(self.labels) if thresholds is None else thresholds
        self._encoder = encoder
        self._groups = [describe(label) for label in taxonomy.labels]
        self._background = tuple(background)
        self._temperature = temperature
        self._lock = threading.Lock()
        self._fitted: tuple[Floats, Floats, Floats] | None = None
        made_of = json.dumps([self.labels, self._groups, self._background, temperature, "line alone"])
        self.model = f"descriptions:{encoder.model}#{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"

    def read(self, passages: Sequence[Passage]) -> Floats:
        """Scores of shape (len(passages), len(labels)), each row summing to 1."""
        if not passages:
            return np.zeros((0, len(self.labels)))
        prototypes, centre, spread = self._fit()
        embedded = self._encoder.encode([passage.text for passage in passages]).astype(np.float64)
        scores: Floats = softmax((embedded @ prototypes.T - centre) / spread / self._temperature, axis=1)
        return scores

    def close(self) -> None:
        """Hold nothing of its own."""

    def _fit(self) -> tuple[Floats, Floats, Floats]:
        """Embed descriptions and background, once; shapes (labels, dimensions), (labels,), (labels,)."""
        with self._lock:
            if self._fitted is None:
                sentences = [text for groups in self._groups for group in groups for text in group]
                rows = iter(self._encoder.encode(sentences).astype(np.float64))
                prototypes = np.stack([np.mean([_centre(rows, len(g)) for g in gs], axis=0) for gs in self._groups])
                everyday = self._encoder.encode(self._background).astype(np.float64) @ prototypes.T
                self._fitted = prototypes, everyday.mean(axis=0), np.maximum(everyday.std(axis=0), MIN_SPREAD)
            return self._fitted


def _centre(rows: Iterator[Floats], count: int) -> Floats:
    """Mean direction of the next `count` embeddings, of length 1 unless they cancel out."""
    mean: Floats = np.mean([next(rows) for _ in range(count)], axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)
