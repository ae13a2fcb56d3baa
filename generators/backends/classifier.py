# SPDX-License-Identifier: Apache-2.0
"""A sequence classifier of transformers in this process, as a blind reader: RoBERTa on GoEmotions and its like.

Weights come from a local folder of safetensors; nothing is fetched and no code of the model is run. `problem_type` of
its configuration says whether scores are a sigmoid for each label or a softmax over them; without it several labels
mean softmax, as in transformers' own pipelines.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validators.errors import InputError, ModelError
from validators.roles import Passage, Reader

MULTI_LABEL = "multi_label_classification"
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL_THRESHOLD = 0.5  # what such models are trained and published for
FOUND = 2.0  # with softmax a label is found from twice its even share on

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """What a classifier needs to start."""

    name: str
    """Model name, for rows and reports."""
    weights: PurePath | None = None
    """A local folder with config.json, the tokenizer and model.safetensors."""
    revision: str = ""
    """Commit of a Hub repository or sha256 of a file; part of `Reader.model`."""
    label_map: Mapping[str, str | None] = field(default_factory=dict)
    """From a label of the taxonomy to the model's label for it, or None where the model has none: it then scores 0.
    Labels of the same name need no entry."""
    batch_rows: int = 32
    max_tokens: int = 256
    """Longer texts lose their beginning, which is the situation and not the line."""
    threads: int = 1  # writers share the cores
    device: str = "cpu"

    @property
    def model(self) -> str:
        """Name and revision, as rows and reports have it."""
        return f"{self.name}@{self.revision}" if self.revision else self.name


def open_classifier(settings: ClassifierSettings, labels: Sequence[str], *, thresholds: Floats | None = None) -> Reader:
    """Load the model and match its labels with those of a taxonomy; InputError names what does not match."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = load_pretrained(
        settings, (AutoTokenizer, {"truncation_side": "left"}), AutoModelForSequenceClassification, kind="sequence"
    )
    return ClassifierReader(tokenizer, model, settings, labels, thresholds)


def load_pretrained(
    settings: ClassifierSettings, preparing: tuple[Any, Mapping[str, Any]], engine: Any, *, kind: str
) -> tuple[Any, Any]:
    """Load what prepares the input (with its options) and a classifier, from a local folder of safetensors."""
    if settings.weights is None:
        raise InputError(f"the {kind} classifier needs weights", next_step="Give a path or a Hub repository.")
    import torch

    torch.set_num_threads(settings.threads)
    folder = str(settings.weights)
    prepares, options = preparing
    try:
        prepared = prepares.from_pretrained(folder, local_files_only=True, **options)
        model, notes = engine.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"transformers cannot load {settings.name} as a classifier ({kind}): {error}",
            where=folder,
            next_step="The folder must hold config.json, model.safetensors, and the tokenizer or "
            "preprocessor_config.json.",
        ) from error
    if missing := sorted(notes["missing_keys"]):  # transformers would fill them with random numbers
        raise ModelError(
            f"{settings.name} has no weights for {', '.join(missing[:4])}",
            where=folder,
            next_step=f"Use a model that was trained as a classifier ({kind}).",
        )
    return prepared, model.to(settings.device).eval()


class ClassifierReader:
    """Scores of a sequence classifier for the labels of a taxonomy; satisfies `validators.roles.Reader`."""

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        settings: ClassifierSettings,
        labels: Sequence[str],
        thresholds: Floats | None = None,
    ) -> None:
        self.labels = tuple(labels)
        self.model = settings.model
        self._settings = settings
        self._tokenizer = tokenizer
        self._engine = model
        self._is_multi_label = is_multi_label(model.config, settings)
        self._columns = match_labels(self.labels, model.config.id2label, settings)
        threshold = default_threshold(model.config, settings)
        self.thresholds: Floats = np.full(len(self.labels), threshold) if thresholds is None else thresholds
        self._lock = threading.Lock()  # a tokenizer's truncation is not made for two callers at once

    def read(self, passages: Sequence[Passage]) -> Floats:
        """Scores of shape (len(passages), len(labels)); 0 for labels that the model does not have."""
        texts = [f"{one.context} {one.text}" if one.context else one.text for one in passages]
        scores = np.zeros((len(texts), len(self.labels)))
        known = [column for column, place in enumerate(self._columns) if place is not None]
        places = [place for place in self._columns if place is not None]
        # sorted, so that a text is padded alike whatever the caller's order
        order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
        with self._lock:
            for start in range(0, len(order), self._settings.batch_rows):
                rows = order[start : start + self._settings.batch_rows]
                scores[np.ix_(rows, known)] = self._score([texts[row] for row in rows])[:, places]
        if not np.isfinite(scores).all():
            raise ModelError(f"{self.model} gave a number that is not finite", next_step="Check its weights.")
        return scores

    def close(self) -> None:
        """Free the model."""
        self._engine = None

    def _score(self, texts: list[str]) -> Floats:
        import torch

        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._settings.max_tokens, return_tensors="pt"
        ).to(self._settings.device)
        with torch.inference_mode():
            logits = self._engine(**batch).logits.double()
        scores: Floats = (logits.sigmoid() if self._is_multi_label else logits.softmax(dim=-1)).cpu().numpy()
        return scores


def match_labels(
    labels: Sequence[str], id2label: Mapping[int, str], settings: ClassifierSettings
) -> tuple[int | None, ...]:
    """Find the model's output for each label of a taxonomy, None where the map says that there is none."""
    places = {str(name).casefold(): int(place) for place, name in id2label.items()}
    wanted = {label: settings.label_map.get(label, label) for label in labels}
    known = ", ".join(str(name) for name in id2label.values())
    problems = [f"label_map names '{one}', which the taxonomy lacks" for one in settings.label_map if one not in wanted]
    if absent := [label for label, name in wanted.items() if name is not None and name.casefold() not in places]:
        problems.append(f"the model has no label for {', '.join(absent)}")
    if all(name is None for name in wanted.values()):
        problems.append("label_map says of every label that the model has none")
    if problems:
        raise InputError(
            f"{settings.name} does not fit the taxonomy: {'; '.join(problems)}",
            where=str(settings.weights or ""),
            next_step=f"Name the model's label, or null, for each of them in label_map. The model's labels: {known}.",
        )
    return tuple(None if name is None else places[name.casefold()] for name in wanted.values())


def default_threshold(config: Any, settings: ClassifierSettings) -> float:
    """The score from which on a label of a model counts as found, where nothing was measured."""
    return MULTI_LABEL_THRESHOLD if is_multi_label(config, settings) else min(FOUND / config.num_labels, 0.5)


def is_multi_label(config: Any, settings: ClassifierSettings) -> bool:
    """Whether a model's scores are a sigmoid for each label, and not a softmax; InputError if it is no classifier."""
    if config.problem_type not in {None, MULTI_LABEL, SINGLE_LABEL} or config.num_labels < 2:
        raise InputError(
            f"{settings.name} is no classifier of labels: {config.problem_type}, {config.num_labels} outputs",
            where=str(settings.weights or ""),
            next_step=f"Use a model whose problem_type is {MULTI_LABEL} or {SINGLE_LABEL}.",
        )
    return bool(config.problem_type == MULTI_LABEL)
