# SPDX-License-Identifier: Apache-2.0
"""A GGUF model in this process through xllamacpp (llama.cpp with continuous batching): the embedded writer.

`ChatSettings.weights` is the GGUF file. One engine decodes `slots` sequences together; threads beyond
the free cores make ggml spin at its barriers, so `threads` should not exceed what is free.
"""

import json
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from generators.backends.prompt_caches import PromptCaches
from generators.backends.taking_turns import CORES
from generators.chat import ChatReply, ChatRequest, ChatSettings, FinishReason, TokenLogprobs, rank_tokens
from validators.errors import ModelError

FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}

# Between JSON tokens llguidance would allow line breaks and indentation, on which a small model spends a quarter of
# its tokens.
_COMPACT = {"whitespace_flexible": False}

KINDS = 4  # kinds of prompt that take turns on the sequences: line, situation, rewriting, reading


def compact_grammar(schema: str) -> str:
    """Turn a JSON schema (as JSON text) into a llguidance grammar without free white space."""
    return "%llguidance {}\nstart: %json " + json.dumps({"x-guidance": _COMPACT, **json.loads(schema)})


class LlamaChat:
    """Chat on a GGUF model; satisfies `generators.chat.Chat`."""

    def __init__(self, settings: ChatSettings) -> None:
        import xllamacpp

        if settings.weights is None:
            raise ModelError("The llama backend needs a GGUF file.", next_step="Give `weights` in the recipe.")
        params = xllamacpp.CommonParams()
        params.model.path = str(settings.weights)
        # idle ones keep what a repair or the next row will need: with as few as `slots`, writing and reading in turns
        # read three times as many tokens anew (simulated); more than this gain little, and each is a context of memory
        params.n_parallel = 2 * settings.slots + KINDS
        params.n_ctx = settings.context_tokens * params.n_parallel
        params.cpuparams.n_threads = settings.threads
        params.cpuparams_batch.n_threads = settings.threads
        params.warmup = False
        params.verbosity = -1
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load this model: {error}",
                where=str(settings.weights),
                next_step="Check that the file is a whole GGUF model, and that memory is free.",
            ) from error
        self._model = f"{settings.name}@{settings.revision}" if settings.revision else settings.name
        self._slots = settings.slots
        self._caches = PromptCaches(params.n_parallel)
        self._tokens: dict[str, tuple[int, ...]] = {}
        self._pool = ThreadPoolExecutor(settings.slots, thread_name_prefix="llama")

    @property
    def model(self) -> str:
        """Name and revision of the weights."""
        return self._model

    @property
    def slots(self) -> int:
        """How many sequences are decoded together."""
        return self._slots

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Queue a request; a thread of the pool waits for the engine."""
        return self._pool.submit(self._ask, request)

    def close(self) -> None:
        """Drop what is queued, wait for the sequences being decoded, free the engine."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._server = None

    def _single_tokens(self, word: str) -> tuple[int, ...]:
        """The tokens that are the whole word. One that takes several cannot be forbidden without others: left alone."""
        known = self._tokens.get(word)
        if known is None:
            forms = (f" {word}", f" {word.capitalize()}", word.capitalize())
            pieces = [self._tokenise(form) for form in forms]
            known = self._tokens[word] = tuple(piece[0] for piece in pieces if len(piece) == 1)
        return known

    def _tokenise(self, text: str) -> list[int]:
        # the binding has no call for it; the engine answers on loopback
        request = urllib.request.Request(  # noqa: S310 - the engine's own http address
            f"{self._server.listening_address}/tokenize",
            data=json.dumps({"content": text, "add_special": False}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return [int(token) for token in json.load(answer)["tokens"]]

    def _ask(self, request: ChatRequest) -> ChatReply:
        body: dict[str, object] = {
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "min_p": request.min_p,
            "seed": request.seed,
            "cache_prompt": True,
        }
        if request.avoid_words:
            tokens = {token for word in request.avoid_words for token in self._single_tokens(word)}
            body["logit_bias"] = [[token, False] for token in sorted(tokens)]
        if request.schema is not None:
            body["grammar"] = compact_grammar(request.schema)
        if request.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        try:
            prompt = "\n".join(message.content for message in request.messages)
            with CORES.of(self), self._caches.take(prompt) as sequence:
                reply = self._server.handle_chat_completions(body | {"id_slot": sequence})
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp refused a request: {error}",
                where=self._model,
                next_step="If the prompt is too long, raise `context_tokens` or lower `section_words`.",
            ) from error
        if "error" in reply:
            raise ModelError(
                f"llama.cpp refused a request: {reply['error'].get('message', reply['error'])}",
                where=self._model,
                next_step="If the prompt is too long, raise `context_tokens` or lower `section_words`.",
            )
        choice, usage = reply["choices"][0], reply["usage"]
        return ChatReply(
            text=choice["message"]["content"] or "",
            finish_reason=FINISH.get(choice["finish_reason"], "length"),
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            first_token=_first_token(choice, request.top_logprobs),
        )


def _first_token(choice: dict[str, Any], most: int) -> TokenLogprobs:
    """Read the alternatives at the first token; a reply of no token at all has none."""
    tokens = choice["logprobs"]["content"] if most else []
    return rank_tokens(((one["token"], one["logprob"]) for one in tokens[0]["top_logprobs"]), most) if tokens else ()


def open_chat(settings: ChatSettings) -> LlamaChat:
    """Load the model; takes seconds for a file in the page cache."""
    return LlamaChat(settings)
