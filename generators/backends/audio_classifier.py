# SPDX-License-Identifier: Apache-2.0
"""An audio classifier of transformers in this process, as a blind listener for emotion: wav2vec 2.0 and its like.

Weights come from a local folder of safetensors; nothing is fetched and no code of the model is run. Scores are a
sigmoid or a softmax as for text; see classifier.py. Published ones know four to eight emotions: of the others they say
nothing.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from generators.backends.classifier import (
    ClassifierSettings,
    default_threshold,
    is_multi_label,
    load_pretrained,
    match_labels,
)
from validators.errors import ModelError
from validators.roles import EmotionListener, Sound

Floats = NDArray[np.float64]


def open_listener(settings: ClassifierSettings, labels: Sequence[str]) -> EmotionListener:
    """Load the model and match its labels with those of a taxonomy; InputError names what does not match.

    Unlike a reader of text, it needs no entry for labels that it lacks: a clip of such a label is not judged.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    extractor, model = load_pretrained(
        settings, (AutoFeatureExtractor, {}), AutoModelForAudioClassification, kind="audio"
    )
    return AudioClassifier(extractor, model, settings, labels)


class AudioClassifier:
    """Scores of an audio classifier for labels of a taxonomy; satisfies `validators.roles.EmotionListener`."""

    def __init__(self, extractor: Any, model: Any, settings: ClassifierSettings, labels: Sequence[str]) -> None:
        self.model = settings.model
        self._settings = settings
        self._extractor = extractor
        self._engine = model
        self._is_multi_label = is_multi_label(model.config, settings)
        theirs = {str(name).casefold() for name in model.config.id2label.values()}
        named = [label for label in labels if label in settings.label_map or label.casefold() in theirs]
        # none at all is told as match_labels tells it
        places = match_labels(named or labels, model.config.id2label, settings)
        self.labels = tuple(label for label, place in zip(named, places, strict=True) if place is not None)
        self._places = [place for place in places if place is not None]
        self.thresholds: Floats = np.full(len(self.labels), default_threshold(model.config, settings))
        self._lock = threading.Lock()

    def hear(self, sound: Sound) -> Floats:
        """Scores of shape (len(labels),)."""
        import torch

        rate = int(self._extractor.sampling_rate)
        samples = resample_poly(sound.samples, rate, sound.sample_rate).astype(np.float32)
        with self._lock, torch.inference_mode():
            batch = self._extractor(samples, sampling_rate=rate, return_tensors="pt").to(self._settings.device)
            logits = self._engine(**batch).logits.double()[0]
        scores: Floats = (logits.sigmoid() if self._is_multi_label else logits.softmax(dim=-1)).cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError(f"{self.model} gave a number that is not finite", next_step="Check its weights.")
        return scores[self._places]

    def close(self) -> None:
        """Free the model."""
        self._engine = None
