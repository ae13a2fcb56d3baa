# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a sentence encoder end to end for labels: encoder, mean of its token vectors, one linear layer.

Recipe, after Mosbach et al. 2021 ("On the Stability of Fine-tuning BERT"): AdamW with bias correction, the learning
rate rising over the first tenth of the steps and then falling linearly to zero, gradients clipped at length 1, and
enough steps where rows are few. The number of epochs is fixed; nothing is held out and no epoch is picked afterwards.

Rare labels: a positive of a label with share p weighs sqrt((1 - p) / p), at most MAX_WEIGHT, and the logarithm of the
weight is taken off the logit afterwards, so that scores are probabilities again (prior correction, King and Zeng 2001).
Intercepts begin at the log odds of the shares, as in Lin et al. 2017, so that no step is spent on learning that labels
are rare.

Weights come from a local folder of safetensors. Same folder, rows and settings: the same scores on the same machine.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validators.errors import InputError, ModelError

MAX_WEIGHT = 10.0
WARMUP_SHARE = 0.1
CLIP = 1.0
BUCKET_BATCHES = 32  # batches whose rows are sorted by length together: less padding, still a random order
SCORED_ROWS = 64

Floats = NDArray[np.float64]
OnStep = Callable[[int, int, float], None]
"""Called with the number of steps done, the number of all steps and the loss of the last."""


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How to train; the defaults suit MiniLM-sized encoders from a hundred to fifty thousand rows."""

    epochs: int = 4
    min_steps: int = 100
    """Epochs are added until there are that many steps: four epochs of 130 rows are 20, too few to leave the start;
    100 are the 20 epochs that Mosbach et al. give small sets."""
    batch_rows: int = 32
    learning_rate: float = 1e-4
    """For the encoder; 2e-5 is for models ten times as large."""
    head_learning_rate: float = 1e-3
    """For the linear layer, which starts from nothing."""
    weight_decay: float = 0.01
    max_tokens: int = 64
    """Longer texts are cut; 99.9 % of GoEmotions has fewer."""
    seed: int = 0
    threads: int = 1
    """Of torch; with more, sums are added in another order and the last bits differ between machines."""
    device: str = "cpu"


class FineTuned:
    """A trained encoder with its linear layer."""

    def __init__(self, tokenizer: Any, encoder: Any, head: Any, settings: FinetuneSettings, steps: int) -> None:
        self.steps = steps
        """Updates that were made; 0 if loaded."""
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.head = head
        self.settings = settings

    def scores(self, texts: Sequence[str]) -> Floats:
        """Scores of shape (len(texts), labels), each the probability of a label; the order of texts plays no part."""
        import torch

        scores = np.zeros((len(texts), self.head.out_features))
        # texts of equal length must not keep the caller's order, or the same text would be padded differently
        order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), texts[row]))
        with _threads(self.settings.threads), torch.inference_mode():
            self.encoder.eval()
            for start in range(0, len(order), SCORED_ROWS):
                rows = order[start : start + SCORED_ROWS]
                batch = _tokens(self.tokenizer, [texts[row] for row in rows], self.settings)
                logits = self.head(_mean_vectors(self.encoder, batch)).double()
                scores[rows] = torch.sigmoid(logits).cpu().numpy()
        if not np.isfinite(scores).all():
            raise ModelError("a fine-tuned encoder gave a score that is not finite")
        return scores

    def state(self) -> dict[str, NDArray[Any]]:
        """All weights by name (`encoder.*`, `head.weight`, `head.bias`), for a safetensors file."""
        parts = {"encoder": self.encoder, "head": self.head}
        return {
            f"{part}.{name}": np.ascontiguousarray(tensor.detach().cpu().numpy())
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }


def finetune(
    folder: PurePath,
    texts: Sequence[str],
    targets: Floats,
    settings: FinetuneSettings,
    on_step: OnStep | None = None,
) -> FineTuned:
    """Train on texts and targets of shape (len(texts), labels), each from 0 to 1.

    Every label needs a target above 0. `folder` holds config.json, the tokenizer and model.safetensors.
    """
    if targets.shape[:1] != (len(texts),) or targets.ndim != 2 or not len(texts):
        raise ValueError(f"targets of shape {targets.shape} for {len(texts)} texts")
    import torch

    with _threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        tokenizer, encoder = _load(folder, settings)
        head = torch.nn.Linear(encoder.config.hidden_size, targets.shape[1]).to(settings.device)
        share = np.clip(targets.mean(axis=0), 1e-6, 1 - 1e-6)
        weight = np.clip(np.sqrt((1 - share) / share), 1.0, MAX_WEIGHT)
        with torch.no_grad():
            head.weight.normal_(std=0.02)
            head.bias.copy_(_tensor(np.log(share / (1 - share)) + np.log(weight), settings))
        model = FineTuned(tokenizer, encoder, head, settings, _n_steps(len(texts), settings))
        _train(model, texts, targets, _tensor(weight, settings), on_step)
        with torch.no_grad():
            head.bias.sub_(_tensor(np.log(weight), settings))
    return model


def load_finetuned(folder: PurePath, state: Mapping[str, NDArray[Any]], settings: FinetuneSettings) -> FineTuned:
    """Bring back what `FineTuned.state` gave; `folder` is that of the encoder it was trained from."""
    import torch

    with _threads(settings.threads):
        tokenizer, encoder = _load(folder, settings)
        parts: dict[str, dict[str, Any]] = {"encoder": {}, "head": {}}
        for key, values in state.items():
            part, _, name = key.partition(".")
            if part not in parts:
                raise InputError(f"{key!r} is no weight of a fine-tuned encoder", where=str(folder))
            parts[part][name] = torch.from_numpy(np.array(values))
        if "weight" not in parts["head"]:
            raise InputError("the weights of the linear layer are missing", where=str(folder))
        n_labels, dimensions = parts["head"]["weight"].shape
        head = torch.nn.Linear(dimensions, n_labels).to(settings.device)
        try:
            encoder.load_state_dict(parts["encoder"])
            head.load_state_dict(parts["head"])
        except RuntimeError as error:
            raise InputError(
                f"the stored weights do not fit the encoder: {str(error).splitlines()[0]}",
                where=str(folder),
                next_step="Use the encoder that they were trained from, or train again.",
            ) from error
    return FineTuned(tokenizer, encoder, head, settings, 0)


def _train(model: FineTuned, texts: Sequence[str], targets: Floats, weight: Any, on_step: OnStep | None) -> None:
    """Make all steps; `weight` holds what a positive of each label weighs."""
    import torch

    encoder, head, settings = model.encoder, model.head, model.settings
    optimizer = torch.optim.AdamW(_groups(encoder, head, settings), fused=True)
    warmup = max(1, round(WARMUP_SHARE * model.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (model.steps - step) / max(1, model.steps - warmup))
    )
    parameters = [*encoder.parameters(), *head.parameters()]
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=weight)
    rng = np.random.default_rng(settings.seed)
    encoder.train()
    for step, rows in enumerate(_batches(texts, model.steps, settings.batch_rows, rng), start=1):
        batch = _tokens(model.tokenizer, [texts[row] for row in rows], settings)
        loss = loss_of(head(_mean_vectors(encoder, batch)), _tensor(targets[rows], settings))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"the loss became {value} at step {step} of {model.steps}", next_step="Lower the learning rate."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, model.steps, value)
    encoder.eval()


def _n_steps(n_rows: int, settings: FinetuneSettings) -> int:
    per_epoch = math.ceil(n_rows / settings.batch_rows)
    return per_epoch * max(settings.epochs, math.ceil(settings.min_steps / per_epoch))


def _batches(
    texts: Sequence[str], n_steps: int, batch_rows: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Give the rows of each step: every row once an epoch, in random order, texts of like length together."""
    lengths = np.array([len(text) for text in texts])
    done = 0
    while done < n_steps:
        shuffled = rng.permutation(len(texts))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(shuffled), batch_rows * BUCKET_BATCHES):
            bucket = shuffled[start : start + batch_rows * BUCKET_BATCHES]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            batches += [bucket[first : first + batch_rows] for first in range(0, len(bucket), batch_rows)]
        for number in rng.permutation(len(batches)).tolist():
            if done < n_steps:
                yield batches[number]
            done += 1


def _groups(encoder: Any, head: Any, settings: FinetuneSettings) -> list[dict[str, Any]]:
    """Split weights by learning rate, and keep decay off biases and layer norms (one-dimensional), as BERT does."""
    groups = []
    for module, rate in ((encoder, settings.learning_rate), (head, settings.head_learning_rate)):
        for decayed in (True, False):
            chosen = [weight for weight in module.parameters() if (weight.ndim > 1) == decayed]
            groups.append({"params": chosen, "lr": rate, "weight_decay": settings.weight_decay if decayed else 0.0})
    return groups


def _load(folder: PurePath, settings: FinetuneSettings) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        encoder = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"transformers cannot load the encoder to fine-tune: {error}",
            where=str(folder),
            next_step="The folder must hold config.json, the tokenizer and model.safetensors.",
        ) from error
    return tokenizer, encoder.float().to(settings.device)


def _tokens(tokenizer: Any, texts: Sequence[str], settings: FinetuneSettings) -> Any:
    return tokenizer(
        list(texts), padding=True, truncation=True, max_length=settings.max_tokens, return_tensors="pt"
    ).to(settings.device)


def _mean_vectors(encoder: Any, batch: Any) -> Any:
    """Average the vectors of the tokens that are no padding, as sentence-transformers does for MiniLM."""
    vectors = encoder(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).to(vectors.dtype)
    return (vectors * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _tensor(values: Floats, settings: FinetuneSettings) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float32, device=settings.device)


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Use that many threads inside, and give the process its own number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
