# SPDX-License-Identifier: Apache-2.0
"""How much of bare vLLM's speed the pipeline keeps, with a server that it starts itself or in process.

    python -m tests.benchmarks.bench_vllm [--rows 96] [--slots 16] [--rounds 1] [--threads 1] [--in-process]

Each round builds a small dataset with `serve: true`, or with the engine in this process, and notes every request;
then hands the same requests, all at once, to `vllm.LLM.generate` in a process of its own with the same settings. Both
are warm, and neither begins with a prompt in its prefix cache. Only the ratio means anything. The model is
SmolLM2-135M, whose text is not usable.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from flows.build import build_release, in_turn
from flows.late_chat import LateChat
from flows.models import cache_folder
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import open_run_of, read_inputs
from flows.vllm_python import find_vllm
from flows.weights import WeightsSpec, dequantised, resolve_weights
from generators.backends.vllm import whole_prompts
from generators.backends.vllm_serve import Serving, environment
from generators.chat import ChatReply, ChatRequest, ChatSettings, Message
from validators.errors import GateError

CONTEXT_TOKENS = 1536
STORIES = Path(__file__).parents[2] / "recipes" / "stories"
RECIPE = """\
name: bench
stories: {{path: {stories}, section_words: 130, evidence: given}}
writer:
  backend: vllm
  serve: {serve}
  weights: {{path: {weights}}}
  licence: Apache-2.0
  slots: {slots}
  threads: {threads}
  context_tokens: {context_tokens}
  timeout_s: 1800
  options: {{dtype: {dtype}, enforce_eager: true}}
encoder: {{backend: hashed}}
reader: {{backend: none}}
utterances: {{rows: {rows}, tries: 1}}
gates: {{max_reason_share: 1.0}}
floors: {{kept_rows: 1, labels: 1}}
shard_rows: {shard_rows}
"""
WARM_UP = ChatRequest((Message("user", "Count to ten."),), None, 16, 0.8, 0)

BARE = """\
import json, sys, time
from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams
told = json.load(sys.stdin)
llm = LLM(**told["engine"])
tokenizer = llm.get_tokenizer()
def ask(requests):
    prompts = [{"prompt_token_ids": tokenizer.apply_chat_template(
        one["messages"], add_generation_prompt=True, tokenize=True, return_dict=False)} for one in requests]
    sampling = [SamplingParams(
        max_tokens=one["max_tokens"], temperature=one["temperature"], min_p=one["min_p"], seed=one["seed"],
        structured_outputs=StructuredOutputsParams(json=json.loads(one["schema"])) if one["schema"] else None,
    ) for one in requests]
    return sum(len(output.outputs[0].token_ids) for output in llm.generate(prompts, sampling, use_tqdm=False))
ask(told["warm_up"])
began_s = time.monotonic()
tokens = ask(told["requests"])
print("BARE", json.dumps({"tokens": tokens, "s": time.monotonic() - began_s}))
"""


class Noted:
    """Every request that reached the writer, and how long it was there."""

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []
        self.spans: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    def watch(self, chat: LateChat) -> None:
        submit = chat.submit

        def noted(request: ChatRequest) -> Future[ChatReply]:
            began_s = time.monotonic()
            self.asked.append(request)
            future = submit(request)
            future.add_done_callback(lambda _: self._note(began_s))
            return future

        chat.submit = noted  # type: ignore[method-assign]

    def _note(self, began_s: float) -> None:
        with self._lock:
            self.spans.append((began_s, time.monotonic()))

    @property
    def wall_s(self) -> float:
        return max(end for _, end in self.spans) - min(began for began, _ in self.spans)

    @property
    def in_flight(self) -> tuple[float, int]:
        """Mean and most."""
        mean = sum(end - began for began, end in self.spans) / self.wall_s
        changes = sorted([(began, 1) for began, _ in self.spans] + [(end, -1) for _, end in self.spans])
        now = most = 0
        for _, change in changes:
            now += change
            most = max(most, now)
        return mean, most


def pipeline(recipe: Path, output: Path) -> tuple[Noted, int, float]:
    """Build with a warm server; gives the tokens that it wrote and the seconds of the stages."""
    inputs, noted = read_inputs(load_recipe(recipe)), Noted()
    with open_run_of(inputs, output, SilentProgress()) as run:
        inputs.models.writer.submit(WARM_UP).result()
        noted.watch(inputs.models.writer)
        with suppress(GateError):  # so small a model may write too few rows that pass; its speed is known by then
            build_release(run, in_turn)
        return noted, run.writer.usage.completion_tokens, sum(took.wall_s for took in run.times.values())


def bare(noted: Noted, settings: ChatSettings) -> float:
    """Tokens per second of vLLM alone."""
    python, found = find_vllm(None)
    engine = {
        "model": str(settings.weights), "max_model_len": settings.context_tokens, "max_num_seqs": settings.slots,
        "seed": 0, "enable_prefix_caching": True, "load_format": "safetensors",
        **(whole_prompts(settings.context_tokens) if found.on_cpu else {}), **settings.options,
    }  # fmt: skip
    told = {"engine": engine, "warm_up": [asdict(WARM_UP)], "requests": [asdict(one) for one in noted.asked]}
    environ = environment(os.environ, found, settings, Serving(), key="")
    result = subprocess.run(
        [str(python), "-c", BARE], input=json.dumps(told), capture_output=True, text=True, check=False,
        env={**environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
    )  # fmt: skip
    line = next((line for line in result.stdout.splitlines() if line.startswith("BARE ")), None)
    if line is None:
        raise SystemExit(f"bare vLLM failed:\n{result.stderr[-2000:]}")
    measured = json.loads(line.removeprefix("BARE "))
    return float(measured["tokens"]) / float(measured["s"])


def main() -> None:
    """Print a line of JSON for each round, and one with the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--in-process", action="store_true", help="no server; vLLM must be installed here")
    options = parser.parse_args()
    smollm2 = resolve_weights(WeightsSpec(package="smollm2-135m"), cache=cache_folder())
    weights = dequantised(smollm2.path, cache=cache_folder())
    settings = ChatSettings(
        "smollm2", weights=weights, slots=options.slots, threads=options.threads, context_tokens=CONTEXT_TOKENS,
        options={"dtype": options.dtype, "enforce_eager": True},
    )  # fmt: skip
    ratios: list[float] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder) / "bench.yaml"
            recipe.write_text(
                RECIPE.format(
                    stories=STORIES, weights=weights, slots=options.slots,
                    threads=options.threads, context_tokens=CONTEXT_TOKENS, dtype=options.dtype, rows=options.rows,
                    shard_rows=options.rows, serve=json.dumps(not options.in_process),
                )
            )  # fmt: skip
            noted, tokens, stages_s = pipeline(recipe, Path(folder) / "out")
        written = tokens / stages_s
        alone = bare(noted, settings)
        ratios.append(written / alone)
        mean, most = noted.in_flight
        figures = {
            "round": number + 1,
            "requests": len(noted.asked),
            "slots": options.slots,
            "in_flight_mean": round(mean, 1),
            "in_flight_most": most,
            "pipeline_tokens_per_s": round(written, 1),
            "bare_tokens_per_s": round(alone, 1),
            "pipeline_over_bare": round(ratios[-1], 3),
            "share_of_stages_without_a_request": round(1 - noted.wall_s / stages_s, 3),
            "load_average": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(figures), flush=True)
    print(json.dumps({"median_pipeline_over_bare": round(statistics.median(ratios), 3)}))


if __name__ == "__main__":
    main()
