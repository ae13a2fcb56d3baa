# SPDX-License-Identifier: Apache-2.0
"""A Chat model as a blind reader: one question with all labels, answered by the probabilities of its first token.

The model is asked for one word of the list of labels. Every alternative at the first token is the beginning of one or
several labels; its probability is shared between them. Contextual calibration (Zhao et al. 2021, "Calibrate Before
Use") divides by the probabilities that the model gives when the line says nothing. One token is made for each text,
and all before the text is the same for all, so that the engine's prefix cache serves it.

Measured with Qwen2.5-Coder-1.5B Q4 on 112 lines of GoEmotions dev with one label, four a label: macro AUC 0.79, top-1
.24, top-3 .38; without calibration 0.77, .18, .29. Lettered options in place of words gave AUC 0.60, top-1 .08, top-3
.18, calibrated: a model of that size does not connect 28 letters with what they stand for.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax  # type: ignore[import-untyped]

from generators.chat import MAX_TOP_LOGPROBS, Chat, ChatReply, ChatRequest, TokenLogprobs
from generators.prompts import fence, load_prompt
from generators.readers.descriptions import even_thresholds
from generators.readers.everyday import CONTENT_FREE
from validators.errors import ModelError
from validators.roles import Passage
from validators.taxonomy import Taxonomy

NONE = "none of these"
"""The answer that no label gets, so that the reader need not choose one."""
TEMPERATURE = 2.0  # the model is too sure: the mean log loss of the true label is 3.14 with 1, 2.80 with 2, 2.87 with 3

Floats = NDArray[np.float64]


class ChatReader:
    """A blind reader made of a Chat model; satisfies `validators.roles.Reader`. The Chat belongs to who opened it."""

    def __init__(
        self, chat: Chat, taxonomy: Taxonomy, *, temperature: float = TEMPERATURE, thresholds: Floats | None = None
    ) -> None:
        self.labels = taxonomy.names
        self.thresholds: Floats = even_thresholds(self.labels) if thresholds is None else thresholds
        self._prompt = load_prompt("read")
        self._chat = chat
        self._temperature = temperature
        self._answers = (*(name.casefold().replace("_", " ") for name in self.labels), NONE)
        made_of = json.dumps([self._prompt.sha256, self._answers, CONTENT_FREE, temperature])
        self.model = f"chat:{chat.model}#{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"
        self._lock = threading.Lock()
        self._tendency: Floats | None = None

    def read(self, passages: Sequence[Passage]) -> Floats:
        """Scores of shape (len(passages), len(labels)); a row sums to 1 less what goes to none of the labels.

        Raises DeferredError where the model did not answer this time, ModelError where it cannot be read from.
        """
        if not passages:
            return np.zeros((0, len(self.labels)))
        replies = [self._chat.submit(self._request(passage)) for passage in passages]
        logits = (self._gather(replies) - self._measure_tendency()) / self._temperature
        scores: Floats = softmax(logits, axis=1)[:, :-1]
        return scores

    def close(self) -> None:
        """Hold nothing of its own."""

    def _request(self, passage: Passage) -> ChatRequest:
        line = f"Situation: {passage.context}\n\n{passage.text}" if passage.context else passage.text
        return self._prompt.request(
            {"answers": ", ".join(self._answers), "passage": fence(line)},
            schema=None,  # under a schema the first token would be a quotation mark
            max_tokens=1,
            temperature=0.0,
            seed=0,
            top_logprobs=MAX_TOP_LOGPROBS,
        )

    def _measure_tendency(self) -> Floats:
        """Mean log probability of each answer where the line says nothing; asked once."""
        with self._lock:
            if self._tendency is None:
                replies = [self._chat.submit(self._request(Passage(text))) for text in CONTENT_FREE]
                self._tendency = self._gather(replies).mean(axis=0)
            return self._tendency

    def _gather(self, replies: Sequence[Future[ChatReply]]) -> Floats:
        """Log probabilities of the answers, shape (len(replies), len(answers)), each row normalised."""
        rows = []
        for reply in replies:
            first_token = reply.result().first_token
            if not first_token:
                raise ModelError(
                    "the chat model gave no token probabilities",
                    where=self.model,
                    next_step="Use a server that takes top_logprobs (vLLM, llama.cpp), or another reader.",
                )
            rows.append(answer_logprobs(self._answers, first_token))
        return np.stack(rows)


def answer_logprobs(answers: Sequence[str], first_token: TokenLogprobs) -> Floats:
    """From the alternatives at the first token to normalised log probabilities of the answers, shape (len(answers),).

    A token that several answers begin with is shared evenly. An answer that no alternative begins is at most as
    probable as the last of them; it gets an even share of that.
    """
    rest = np.exp(first_token[-1][1]) / len(answers)
    mass = np.zeros(len(answers))
    for token, logprob in first_token:
        word = token.strip().casefold()
        begins = [place for place, answer in enumerate(answers) if word and answer.startswith(word)]
        mass[begins] += np.exp(logprob) / max(len(begins), 1)
    mass = np.maximum(mass, rest)
    logprobs: Floats = np.log(mass / mass.sum())
    return logprobs
