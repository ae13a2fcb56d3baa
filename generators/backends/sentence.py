# SPDX-License-Identifier: Apache-2.0
"""A sentence-transformers model in this process."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.encoder import EncoderSettings
from validators.errors import InputError, ModelError
from validators.roles import Encoder

CPU_THREADS = 1  # writers share the cores; more threads also change the last bits of a sum from run to run


def open_encoder(settings: EncoderSettings) -> Encoder:
    """Load a local folder; nothing is fetched and no code of the model is run.

    Options go to `SentenceTransformer` as they are; `device` is "cpu" unless given.
    """
    if settings.weights is None:
        raise InputError("the sentence encoder needs weights", next_step="Give a package, a path or a Hub repository.")
    if settings.options.get("trust_remote_code"):
        raise InputError("trust_remote_code is not allowed: weights must not bring code of their own")
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(CPU_THREADS)
    options: dict[str, Any] = {"device": "cpu", "model_kwargs": {"use_safetensors": True}, **settings.options}
    try:
        engine = SentenceTransformer(str(settings.weights), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"sentence-transformers cannot load {settings.name}: {error}",
            where=str(settings.weights),
            next_step="The folder must hold config.json, the tokenizer, modules.json and model.safetensors.",
        ) from error
    return SentenceEncoder(engine, settings)


class SentenceEncoder:
    """Embeds in batches of texts sorted by length, the same batches for the same texts."""

    def __init__(self, engine: Any, settings: EncoderSettings) -> None:
        self.model = f"{settings.name}@{settings.revision}" if settings.revision else settings.name
        self._engine = engine
        self._batch_rows = settings.batch_rows
        self._dimensions = int(engine.get_embedding_dimension())
        self._lock = threading.Lock()  # a model's buffers are not made for two callers at once

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; fails where the model gives NaN or another shape, since later stages trust the numbers."""
        if not texts:
            return np.zeros((0, self._dimensions), dtype=np.float32)
        # Sorted here, not by the engine alone: texts of equal length must not keep the caller's order, or the same
        # text would be padded differently from call to call.
        order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), texts[index]))
        with self._lock:
            embedded = np.asarray(
                self._engine.encode(
                    [texts[index] for index in order],
                    batch_size=self._batch_rows,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                ),
                dtype=np.float32,
            )
        expected = (len(texts), self._dimensions)
        if embedded.shape != expected:
            raise ModelError(f"{self.model} gave an array of shape {embedded.shape}, expected {expected}")
        if not np.isfinite(embedded).all():
            broken = order[int(np.flatnonzero(~np.isfinite(embedded).all(axis=1))[0])]
            raise ModelError(f"{self.model} gave a number that is not finite", where=f"text {broken} of {len(texts)}")
        rows = np.empty_like(embedded)
        rows[order] = embedded
        return rows
