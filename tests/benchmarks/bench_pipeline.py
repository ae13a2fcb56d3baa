# SPDX-License-Identifier: Apache-2.0
"""How much of the raw engine's speed the whole pipeline keeps, and how much time it spends outside the model.

    python -m tests.benchmarks.bench_pipeline [--rows 24] [--stories 4] [--threads 2] [--slots 4]

Builds a small dataset with the embedded writer, notes every request that reached the engine, then hands the same
requests to a fresh engine in one go. Both run in this process, one after the other; only their ratio means anything.
24 rows take some twenty minutes on two cores.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

from flows.build import build
from flows.late_chat import LateChat
from flows.models import cache_folder
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import read_inputs
from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import open_chat
from generators.chat import ChatReply, ChatRequest, ChatSettings

RECIPE = """\
name: bench
stories: {{path: {stories}, section_words: 130, limit: {limit}, sections: {sections}}}
writer:
  {{backend: llama, weights: {{package: qwen2.5-coder-1.5b}}, slots: {slots}, threads: {threads}, context_tokens: 1536}}
encoder: {{backend: sentence, weights: {{package: all-minilm-l6-v2}}}}
utterances: {{rows: {rows}}}
gates: {{max_reason_share: 1.0}}
shard_rows: 12
"""
STORIES = Path(__file__).parents[2] / "recipes" / "stories"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--stories", type=int, default=4)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--slots", type=int, default=4)
    options = parser.parse_args()
    asked: list[ChatRequest] = []
    submit = LateChat.submit

    def noted(self: LateChat, request: ChatRequest) -> Future[ChatReply]:
        asked.append(request)
        return submit(self, request)

    LateChat.submit = noted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "bench.yaml"
        recipe.write_text(
            RECIPE.format(
                stories=STORIES,
                rows=options.rows,
                limit=options.stories,
                sections=options.rows // 2,
                slots=options.slots,
                threads=options.threads,
            )
        )
        release = build(read_inputs(load_recipe(recipe)), Path(folder) / "out", SilentProgress())
        usage = release.usage
    pipeline = usage["completion_tokens"] / usage["text_stages_s"]

    weights = resolve_weights(WeightsSpec(package="qwen2.5-coder-1.5b"), cache=cache_folder())
    engine = open_chat(
        "llama",
        ChatSettings(
            name=weights.name,
            weights=weights.path,
            slots=options.slots,
            threads=options.threads,
            context_tokens=1536,
        ),
    )
    engine.submit(asked[0]).result()  # loads and warms up, as the pipeline's engine was before most of its work
    began_s = time.monotonic()
    replies = [future.result() for future in [engine.submit(request) for request in asked]]
    raw = sum(reply.completion_tokens for reply in replies) / (time.monotonic() - began_s)
    engine.close()
    print(
        json.dumps(
            {
                "requests": len(asked),
                "kept": release.kept,
                "pipeline_tokens_per_s": round(pipeline, 2),
                "raw_tokens_per_s": round(raw, 2),
                "pipeline_over_raw": round(pipeline / raw, 3),
                "share_of_wall_time_outside_the_model": usage["share_outside_model"],
            }
        )
    )
    os._exit(0)  # llama.cpp's threads need no farewell


if __name__ == "__main__":
    main()
