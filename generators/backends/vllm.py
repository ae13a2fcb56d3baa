# SPDX-License-Identifier: Apache-2.0
"""vLLM in this process: a safetensors folder on one or more GPUs, or on a CPU.

The engine is stepped request by request and not called with a batch, so that a finished reply is delivered at once and
the next request takes its place. Options are keyword arguments of `vllm.LLM` (dtype, tensor_parallel_size,
quantization, enforce_eager, ...).
"""

import itertools
import json
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from generators.backends.endings import closed_error, copy_error
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings, FinishReason, rank_tokens
from validators.errors import DeferredError, InputError, ModelError

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: starts in 5 s and not 17, dies with it
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; the default takes a share of the memory that other stages need
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # the default leaves one core idle, half of a machine with two
        "HF_HUB_OFFLINE": "1",  # the weights are here; nothing is asked of the Hub
        "VLLM_NO_USAGE_STATS": "1",  # no telemetry
        "DO_NOT_TRACK": "1",  # the same, for libraries below vLLM
    }
)
"""Set before vLLM is imported, and after weights are fetched, where the user has not set them."""

OURS = frozenset({"model", "tokenizer", "max_model_len", "trust_remote_code"})
"""Arguments that options must not give: they come from the settings, or would run code of the weights."""
MIN_BATCHED_TOKENS = 4096  # of prompts in one step on a CPU: eight of ours
FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
MAX_SEED = 2**63  # torch reads a signed 64-bit integer
CLOSE_TIMEOUT_S = 60.0  # a step on a busy CPU takes seconds


def open_chat(settings: ChatSettings) -> Chat:
    """Load the model; returns when it can answer."""
    if settings.weights is None:
        raise InputError("vllm needs weights", next_step="Give a folder of safetensors or a Hub repository.")
    if clash := sorted(OURS & set(settings.options)):
        raise InputError(f"the option {clash[0]!r} of the vllm backend is not for a recipe to give")
    return VllmChat(settings)


@dataclass(frozen=True, slots=True)
class _Asked:
    request: ChatRequest
    future: Future[ChatReply]


class VllmChat:
    """Owns the engine in one thread, which loads it, feeds it and steps it; torch keeps its settings per thread."""

    def __init__(self, settings: ChatSettings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()  # None wakes the thread to close
        self._gate = threading.Lock()  # between submit and the end of the thread
        self._ended: ModelError | None = None
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="vllm", daemon=True)
        self._thread.start()
        started.result()

    @property
    def model(self) -> str:
        """Name and revision of the weights."""
        name, revision = self._settings.name, self._settings.revision
        return f"{name}@{revision}" if revision else name

    @property
    def slots(self) -> int:
        """How many requests are kept in the engine."""
        return self._settings.slots

    def submit(self, request: ChatRequest) -> Future[ChatReply]:
        """Hand a request to the engine's thread."""
        future: Future[ChatReply] = Future()
        future.set_running_or_notify_cancel()  # from here on only this class ends the future
        with self._gate:
            if self._ended is None:
                self._inbox.put(_Asked(request, future))
            else:
                future.set_exception(copy_error(self._ended))
        return future

    def close(self) -> None:
        """Drop all requests and free the model's memory."""
        with self._gate:
            self._ended = self._ended or closed_error()
            self._inbox.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)

    # What follows runs on the engine's thread alone.

    def _run(self, started: Future[None]) -> None:
        try:
            engine = _Engine(self._settings)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever opens the backend
            started.set_exception(error)
            return
        started.set_result(None)
        running: dict[str, Future[ChatReply]] = {}
        try:
            self._serve(engine, running)
        except Exception as error:  # noqa: BLE001 - whatever it was, every request is told
            failed = ModelError(
                f"the vLLM engine failed: {type(error).__name__}: {error}",
                next_step="Run again; if it fails at once, lower slots or context_tokens.",
            )
            with self._gate:
                self._ended = self._ended or failed
        finally:
            self._drop(running)
            engine.close()

    def _serve(self, engine: "_Engine", running: dict[str, Future[ChatReply]]) -> None:
        names = map(str, itertools.count())
        while self._ended is None:
            while len(running) < self._settings.slots and (asked := self._next(wait=not running)):
                name = next(names)
                running[name] = asked.future  # before it is tried: if the engine dies of it, it must be told too
                try:
                    engine.add(name, asked.request)
                except ValueError as error:  # of this request alone: too long, or a schema that cannot be met
                    running.pop(name).set_exception(ModelError(f"vLLM does not take the request: {error}"))
            if running and self._ended is None:
                for name, outcome in engine.step():
                    future = running.pop(name)
                    if isinstance(outcome, ChatReply):
                        future.set_result(outcome)
                    else:
                        future.set_exception(outcome)

    def _next(self, *, wait: bool) -> _Asked | None:
        try:
            return self._inbox.get(block=wait)
        except queue.Empty:
            return None

    def _drop(self, running: dict[str, Future[ChatReply]]) -> None:
        with self._gate:  # nothing is put in from here on
            ended = self._ended or DeferredError("the vLLM engine's thread ended")
            self._ended = ended
        left = list(running.values())
        while True:
            try:
                asked = self._inbox.get_nowait()
            except queue.Empty:
                break
            if asked is not None:
                left.append(asked.future)
        for future in left:
            future.set_exception(copy_error(ended))


def whole_prompts(context_tokens: int) -> dict[str, object]:
    """Arguments by which a CPU engine reads no prompt in parts.

    After a part it takes back the sample that it drew, and so the state of a seeded generator, which one on a CPU
    cannot do: the engine dies (vLLM 0.32, "CPU Generator does not use offset") when prompts of more than 2048 tokens
    come together.
    """
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(context_tokens, MIN_BATCHED_TOKENS)}


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Give the engine of this thread so many on a CPU, where it takes all cores, and every layer waits for the slowest.

    Meanwhile it has replaced the function for all other threads, whose readers set theirs too.
    """
    import torch

    set_threads = torch.set_num_threads
    set_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads = set_threads


def _let_llvmlite_be_looked_through() -> None:
    """Have the library of numba, if it is read, give a dictionary where vLLM 0.32 on a CPU asks all modules for one."""
    if ffi := sys.modules.get("llvmlite.binding.ffi"):
        ffi.lib._fntab["__dict__"] = {}  # it makes a function of every name that it is asked for, of this one too


class _Engine:
    """What is used of vLLM, in one place."""

    def __init__(self, settings: ChatSettings) -> None:
        from vllm import LLM, SamplingParams
        from vllm.platforms import current_platform
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        self._sampling, self._structured = SamplingParams, StructuredOutputsParams
        self._final_only = RequestOutputKind.FINAL_ONLY
        arguments: dict[str, Any] = {
            "max_num_seqs": settings.slots,
            "seed": 0,
            "enable_prefix_caching": True,  # the system prompt and the examples are the same in all requests
            "load_format": "safetensors",  # never a pickle
            **(whole_prompts(settings.context_tokens) if current_platform.is_cpu() else {}),
            **settings.options,
        }
        _let_llvmlite_be_looked_through()
        try:
            with _threads(settings.threads):
                llm = LLM(model=str(settings.weights), max_model_len=settings.context_tokens, **arguments)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            raise ModelError(
                f"vLLM cannot load {settings.name}: {error}",
                where=str(settings.weights),
                next_step="Check the folder, the options and context_tokens; a GGUF file is for the llama backend.",
            ) from error
        self._engine = llm.llm_engine
        self._top_logprobs: dict[str, int] = {}
        self._tokenizer = llm.get_tokenizer()
        if not getattr(self._tokenizer, "chat_template", None):
            self.close()
            raise ModelError(
                f"{settings.name} has no chat template", where=str(settings.weights),
                next_step="Use an instruct model: a base model does not know roles.",
            )  # fmt: skip

    def add(self, name: str, request: ChatRequest) -> None:
        """Give the engine a request; ValueError if it does not fit."""
        from jinja2 import TemplateError
        from vllm.exceptions import VLLMClientError

        try:
            self._add(name, request)
        except TemplateError as error:  # as of a template that takes no system message
            raise ValueError(f"its chat template: {error}") from error
        except VLLMClientError as error:
            raise ValueError(str(error)) from error

    def _add(self, name: str, request: ChatRequest) -> None:
        prompt = self._tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in request.messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        structured = None if request.schema is None else self._structured(json=json.loads(request.schema))
        sampling = self._sampling(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            min_p=request.min_p,
            seed=request.seed % MAX_SEED,
            structured_outputs=structured,
            output_kind=self._final_only,
            logprobs=request.top_logprobs or None,  # 0 would ask for that of the chosen token
        )
        (rendered,) = self._engine.renderer.render_cmpl([{"prompt_token_ids": prompt}])
        self._engine.add_request(name, rendered, sampling)
        self._top_logprobs[name] = request.top_logprobs

    def step(self) -> list[tuple[str, ChatReply | ModelError]]:
        """Compute one token for every request, and return those that are finished."""
        finished = [output for output in self._engine.step() if output.finished]
        return [(output.request_id, _read(output, self._top_logprobs.pop(output.request_id))) for output in finished]

    def close(self) -> None:
        """Stop the engine and its worker processes, if it has any."""
        self._engine.engine_core.shutdown()


def _read(output: Any, top_logprobs: int) -> ChatReply | ModelError:
    completion = output.outputs[0]
    finish_reason = FINISH_REASONS.get(completion.finish_reason)
    if finish_reason is None:
        return DeferredError(f"vLLM ended the reply with the reason {completion.finish_reason!r}")
    # vLLM adds the chosen token where it is not among the most probable; the cut leaves it out again
    first = completion.logprobs[0].values() if completion.logprobs else ()
    return ChatReply(
        text=completion.text,
        finish_reason=finish_reason,
        prompt_tokens=len(output.prompt_token_ids),
        completion_tokens=len(completion.token_ids),
        first_token=rank_tokens(((one.decoded_token or "", one.logprob) for one in first), top_logprobs),
    )
