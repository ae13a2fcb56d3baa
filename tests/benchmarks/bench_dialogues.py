# SPDX-License-Identifier: Apache-2.0
"""Turns per second with 1, 4 and 8 dialogues side by side, beside the raw engine on the same prompts.

    python -m tests.benchmarks.bench_dialogues [--dialogues 8] [--turns 3] [--threads 2] [--weights qwen2.5-coder-1.5b]

Writes dialogues of domains with the embedded writer, without reader and judge, then hands the same requests to a fresh
engine, as many at a time; one after the other. Only the ratios mean anything.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from flows.models import cache_folder
from flows.weights import ResolvedWeights, WeightsSpec, resolve_weights
from generators.backends.hashed import open_encoder
from generators.backends.registry import open_chat
from generators.chat import Chat, ChatReply, ChatRequest, ChatSettings
from generators.conversations import Conversation, Slots, side_by_side
from generators.dialogues.domains import builtin_domains
from generators.dialogues.plans import Wanted, plan_dialogues
from generators.dialogues.scenes import DialogueScene, DialogueSettings
from generators.dialogues.writing import Ended, write_dialogue
from generators.encoder import EncoderSettings
from generators.trajectories.dynamics import fit_dynamics, target_of
from generators.trajectories.graphs import affect_graph
from validators.gates import GateBounds
from validators.taxonomy import builtin_taxonomy

SIDE_BY_SIDE = (1, 4, 8)
TAXONOMY = builtin_taxonomy("goemotions")


def main() -> None:
    """Print one line of JSON for each number of dialogues side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialogues", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3, help="at least 3")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--weights", default="qwen2.5-coder-1.5b", help="a package; a smaller model shows more overhead"
    )
    options = parser.parse_args()
    weights = resolve_weights(WeightsSpec(package=options.weights), cache=cache_folder())
    for slots in SIDE_BY_SIDE:
        asked: list[ChatRequest] = []
        engine = _open(weights, slots, options.threads)

        def submit(request: ChatRequest, engine: Chat = engine, asked: list[ChatRequest] = asked) -> Future[ChatReply]:
            asked.append(request)
            return engine.submit(request)

        began_s = time.monotonic()
        talks = _dialogues(options.dialogues, options.turns)
        turns = sum(len(ended.turns) for ended in _ended(side_by_side(talks, submit, Slots(slots))))
        pipeline_s = time.monotonic() - began_s
        engine.close()
        engine = _open(weights, slots, options.threads)
        began_s = time.monotonic()
        with ThreadPoolExecutor(slots) as pool:
            list(pool.map(lambda request, engine=engine: engine.submit(request).result(), asked))
        raw_s = time.monotonic() - began_s
        engine.close()
        figures = {"side_by_side": slots, "requests": len(asked), "turns": turns, "turns_per_s": turns / pipeline_s}
        print(json.dumps({**figures, "raw_turns_per_s": turns / raw_s, "pipeline_over_raw": raw_s / pipeline_s}))
    os._exit(0)  # llama.cpp's threads need no farewell


def _open(weights: ResolvedWeights, slots: int, threads: int) -> Chat:
    settings = ChatSettings(name=weights.name, weights=weights.path, slots=slots, threads=threads, context_tokens=1280)
    return open_chat("llama", settings)


def _dialogues(count: int, turns: int) -> Iterator[Conversation[Ended]]:
    labels = tuple(name for name in TAXONOMY.names if name != TAXONOMY.neutral)
    wanted = Wanted(
        dynamics=fit_dynamics(affect_graph(TAXONOMY, labels), target_of(labels), lengths=[turns]),
        domains=builtin_domains(),
        pairs=(("writer", "writer"),),
        lengths={turns: 1},
        from_stories=0,
        splits={"train": 1},
        neutral=None,
        seed=7,
    )
    settings = DialogueSettings(
        candidates=3,
        temperature=0.8,
        bounds=GateBounds(min_words=3, max_words=25),
        encoder=open_encoder(EncoderSettings("hashed")),
        similarity=0.99,
        history_turns=8,
    )
    topics = {domain.name: domain.description for domain in builtin_domains()}
    for plan in plan_dialogues(wanted, (), (), count=count, first_shard=0, shard_rows=count):
        scene = DialogueScene(
            plan=plan,
            topic=topics[str(plan.domain)],
            language="en",
            labels={turn.label: TAXONOMY.label(turn.label) for turn in plan.trajectory},
            neutral=None,
            settings=settings,
        )
        yield write_dialogue(scene)


def _ended(rows: Iterator[tuple[int, object]]) -> Iterator[Ended]:
    for _, row in rows:
        if not isinstance(row, Ended):
            raise TypeError(f"a dialogue ended as {row!r}")
        yield row


if __name__ == "__main__":
    main()
