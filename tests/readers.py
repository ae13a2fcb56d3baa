# SPDX-License-Identifier: Apache-2.0
"""Made-up labelled texts for readers."""

import hashlib

import numpy as np

from validators.labelled import LabelledTexts
from validators.taxonomy import Label, Taxonomy

LABELS = ("joy", "fear", "grief", "neutral")
PHRASES = {
    "joy": ("what a wonderful day", "hooray we won", "I am so happy", "this is lovely"),
    "fear": ("something is behind us", "I dare not look", "please lock the door", "I am shaking"),
    "grief": ("she died", "I weep at his grave", "we buried him", "nothing brings her back"),
    "neutral": ("the bus leaves at nine", "put it on the shelf", "it is a table", "he lives in Leeds"),
}
FILLERS = ("well", "you know", "said the man", "and then", "in the end", "as I told you", "of course", "by the way")


def made_up(rows: int, *, seed: int, labels: tuple[str, ...] = LABELS) -> LabelledTexts:
    """Rows of one label, some of two, each with words that say it among others that do not."""
    random = np.random.default_rng(seed)
    texts, targets = [], np.zeros((rows, len(labels)))
    for row in range(rows):
        chosen = random.permutation(len(labels))[: 1 + (random.random() < 0.1)]
        parts = [str(random.choice(PHRASES[labels[column]])) for column in chosen]
        parts += [str(word) for word in random.choice(FILLERS, size=3)]
        texts.append(f"{' '.join(random.permutation(parts))} {row}")
        targets[row, chosen] = 1
    sha256 = hashlib.sha256(repr((texts, targets.tolist())).encode()).hexdigest()
    return LabelledTexts(f"made-up-{seed}", "CC0-1.0", sha256, tuple(texts), labels, targets)


def taxonomy(labels: tuple[str, ...] = LABELS) -> Taxonomy:
    """A taxonomy of these labels."""
    return Taxonomy(
        name="made-up",
        title="Made up",
        version=1,
        source="a test",
        neutral="neutral",
        labels=tuple(
            Label(
                name=name,
                title=name,
                definition="what is felt at such a time",
                synonyms=(name,),
                valence=0.0,
                arousal=0.5,
            )
            for name in labels
        ),
    )
