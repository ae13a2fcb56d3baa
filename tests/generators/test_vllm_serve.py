# SPDX-License-Identifier: Apache-2.0
"""What vLLM's server is started with, and what may be said of its end."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from generators.backends.vllm_serve import (
    FOR_SERVE,
    OPTIONS,
    Serving,
    VllmFound,
    command,
    environment,
    next_step,
    option_problem,
)
from generators.chat import ChatSettings

ON_GPU = VllmFound("0.33.0", on_cpu=False, has_command=True)
ON_CPU = VllmFound("0.32.0", on_cpu=True, has_command=False)
SETTINGS = ChatSettings("m", weights=Path("/models/m"), slots=9, context_tokens=2048, threads=2)


def value_of(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_the_command_says_what_the_recipe_says() -> None:
    options = {"dtype": "float16", "enforce_eager": True, "enable_chunked_prefill": False, "hf_overrides": {"a": 1}}
    serving = Serving(memory=1 / 3, tensor_parallel_size=2)
    words = command(ON_GPU, replace(SETTINGS, options=options), serving, port=81)
    assert words[:4] == ["-m", "vllm.entrypoints.cli.main", "serve", "/models/m"]
    assert [value_of(words, flag) for flag in ("--max-num-seqs", "--max-model-len", "--port")] == ["9", "2048", "81"]
    assert value_of(words, "--tensor-parallel-size") == "2"
    assert value_of(words, "--gpu-memory-utilization") == "0.3333"
    assert value_of(words, "--dtype") == "float16"
    assert json.loads(value_of(words, "--hf-overrides")) == {"a": 1}
    assert {"--enforce-eager", "--no-enable-chunked-prefill", "--enable-prefix-caching"} <= set(words)
    # else a model's own recommendations would join what requests say, and rows differ from those made in process
    assert value_of(words, "--generation-config") == "vllm"
    assert value_of(words, "--host") == "127.0.0.1"


def test_a_build_of_another_name_is_started_by_its_module() -> None:
    words = command(ON_CPU, SETTINGS, Serving(prefix_caching=False), port=81)
    assert words[:4] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "/models/m"]
    assert {"--no-enable-prefix-caching", "--no-enable-chunked-prefill"} <= set(words)  # see whole_prompts
    assert value_of(words, "--max-num-batched-tokens") == "4096"
    long = command(ON_CPU, replace(SETTINGS, context_tokens=9000), Serving(), port=81)
    assert value_of(long, "--max-num-batched-tokens") == "9000"
    assert not {"--tensor-parallel-size", "--gpu-memory-utilization"} & set(words)


def test_the_environment_keeps_what_the_user_set_and_hides_our_packages() -> None:
    own = {"PATH": "/bin", "PYTHONPATH": "/ours", "OMP_NUM_THREADS": "7", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    made = environment(own, ON_CPU, SETTINGS, Serving(kv_cache_gib=3), key="k")
    assert made["PATH"] == "/bin"
    assert made["OMP_NUM_THREADS"] == "7"
    assert made["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert made["VLLM_API_KEY"] == "k"
    assert made["HF_HUB_OFFLINE"] == made["VLLM_NO_USAGE_STATS"] == "1"
    assert not {"PYTHONPATH", "VLLM_ENABLE_V1_MULTIPROCESSING", "CUDA_VISIBLE_DEVICES"} & made.keys()
    shared = environment({}, ON_CPU, SETTINGS, Serving(memory=0.4), key="k")
    assert "VLLM_CPU_KVCACHE_SPACE" not in shared  # it would come before the share
    assert shared["OMP_NUM_THREADS"] == "2"
    assert environment({}, ON_GPU, SETTINGS, Serving(gpus=(1, 3)), key="k")["CUDA_VISIBLE_DEVICES"] == "1,3"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dtype", ""),
        ("quantization", ""),
        ("trust_remote_code", "runs code"),
        ("max_model_len", "context_tokens"),
        ("tensor_parallel_size", "serve.tensor_parallel_size"),
        ("dtyp", "Did you mean 'dtype'?"),
        ("worker_cls", "not passed on"),
        ("tool_parser_plugin", "not passed on"),
        ("api_key", "not passed on"),
        ("port", "not passed on"),
        ("load_format", "not passed on"),
    ],
)
def test_an_option_is_passed_on_or_told_why_not(name: str, says: str) -> None:
    problem = option_problem(name)
    assert says in problem
    assert bool(problem) == bool(says)


def test_no_option_is_both_passed_on_and_set_elsewhere() -> None:
    assert not OPTIONS & FOR_SERVE.keys()


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ('{"found": true, "vllm": "0.33.0", "vllm-cpu": ""}', ON_GPU),
        ('{"found": true, "vllm": "", "vllm-cpu": "0.32.0"}', ON_CPU),
        ('{"found": true, "vllm": "0.33.0+cpu", "vllm-cpu": ""}', VllmFound("0.33.0+cpu", True, True)),
        ('{"found": false, "vllm": "", "vllm-cpu": ""}', None),
        ("Segmentation fault", None),
        ("{}", None),
    ],
)
def test_an_interpreter_tells_which_vllm_it_has(printed: str, found: VllmFound | None) -> None:
    assert VllmFound.read(printed) == found


def test_the_next_step_follows_the_log_then_the_code() -> None:
    assert next_step(1, "torch.OutOfMemoryError: CUDA out of memory").startswith("Lower context_tokens or slots")
    assert "nvidia-smi" in next_step(1, "RuntimeError: Failed to infer device type")
    assert "make setup-vllm" in next_step(1, "ModuleNotFoundError: No module named 'uvloop'")
    assert next_step(137, "").startswith("It was killed")
    assert "serve.ready_within_s" in next_step(None, "Loading shards 3/9")
    assert next_step(1, "what").startswith("Read the log")
