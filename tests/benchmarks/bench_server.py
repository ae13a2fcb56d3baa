# SPDX-License-Identifier: Apache-2.0
"""How full the pipeline keeps a server, beside datatrove and Data Designer in the same run.

    python -m tests.benchmarks.bench_server [--rows 5120] [--slots 256] [--latency 0.5] [--in-turn 3]
        [--datatrove VENV/bin/python] [--data-designer VENV/bin/python]

The server is a process of its own that answers every request after the latency; so the ideal is slots / latency rows
a second. `ours` asks one request a row through the parts that a run uses: side_by_side, StoredChat with its SQLite
file, and the OpenAI client; a row counts once its reply is durable in the store. `bare` is the OpenAI client alone, and
`store` the store alone, without a server. The peers run as their examples do, each with its own interpreter.
`of_ideal` is rows a second over the ideal, of the time from the first request to the last reply; `cpu_ms` is the
processor's time for a row in the process that asks, which says the same on a busy machine.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.replies import StoredChat
from flows.reply_store import ReplyStore
from generators.backends.registry import open_chat
from generators.chat import ChatReply, ChatRequest, ChatSettings, Message
from generators.conversations import Conversation, Slots, ask, asked_at_once, side_by_side

SCHEMA = json.dumps({"type": "object", "properties": {"line": {"type": "string"}}, "required": ["line"]})
TEXT = '{"line": "I left the lantern burning by the door, and nobody came to ask me why I had stayed."}'
SYSTEM = "You write one line that a character says. " * 12  # some 500 characters, as our prompts begin


def serve(port: int, latency_s: float) -> None:
    """Answer every request after the latency, without reading it; keeps its own processor time low."""
    body = json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "mock",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 150, "completion_tokens": 30, "total_tokens": 180},
        }
    ).encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport, self.pending, self.loop = transport, b"", asyncio.get_running_loop()

        def data_received(self, data: bytes) -> None:
            self.pending += data
            while (end := self.pending.find(b"\r\n\r\n")) >= 0:
                head = self.pending[:end].lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                if len(self.pending) < end + 4 + length:
                    return
                self.pending = self.pending[end + 4 + length :]
                # what is no completion is somebody asking for models or health
                wait_s = latency_s if b"/chat/completions" in head else 0
                self.loop.call_later(wait_s, self.write, b"connection: close" in head)

        def write(self, last: bool) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                if last:  # datatrove reads until the connection ends
                    self.transport.close()

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port, backlog=2048)
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def server(latency_s: float) -> Iterator[str]:
    """Run the server in a process of its own and give its base_url."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, latency_s), daemon=True)
    process.start()
    try:
        for _ in range(600):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.join()


def requests(n_rows: int) -> Iterator[ChatRequest]:
    """Make requests of the size that a line takes."""
    for row in range(n_rows):
        messages = (Message("system", SYSTEM), Message("user", f"Row {row}: what does the miller say to the bear?"))
        yield ChatRequest(messages, SCHEMA, max_tokens=120, temperature=0.8, seed=row)


def ask_ours(base_url: str, n_rows: int, slots: int) -> None:
    """One request a row, through all that a run uses."""

    def talk(request: ChatRequest) -> Conversation[ChatReply]:
        return (yield from ask(request))

    with tempfile.TemporaryDirectory() as folder, ReplyStore(Path(folder) / "replies.sqlite") as store:
        chat = StoredChat(open_chat("openai", ChatSettings("mock", slots=slots, base_url=base_url)), store)
        rows = list(
            side_by_side((talk(request) for request in requests(n_rows)), chat.submit, Slots(asked_at_once(slots)))
        )
        chat.close()
        assert len(rows) == len(store) == n_rows
        assert all(isinstance(row, ChatReply) for _, row in rows)


def ask_bare(base_url: str, n_rows: int, slots: int) -> None:
    """The same requests, handed to the client in one go; its pace keeps so many in flight."""
    chat = open_chat("openai", ChatSettings("mock", slots=slots, base_url=base_url))
    futures = [chat.submit(request) for request in requests(n_rows)]
    assert all(future.result().text == TEXT for future in futures)
    chat.close()


ASKING = {"ours": ask_ours, "bare": ask_bare}

PEERS = {
    # examples/inference of datatrove: the runner with an endpoint, checkpoints and their store of replies
    "datatrove": """
import asyncio, json, sys, tempfile, time
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
base_url, rows, slots, system = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
async def rollout(document, generate):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": document.text}]
    return await generate({"messages": messages, "max_tokens": 120, "temperature": 0.8})
with tempfile.TemporaryDirectory() as folder:
    config = InferenceConfig(server_type="endpoint", endpoint_url=base_url.removesuffix("/v1"),
        model_name_or_path="mock", max_concurrent_generations=slots, metric_interval=3600)
    writer = JsonlWriter(folder + "/out", output_filename="${rank}_chunk_${chunk_index}.jsonl")
    runner = InferenceRunner(rollout_fn=rollout, config=config, output_writer=writer,
        checkpoints_local_dir=folder + "/checkpoints", records_per_chunk=1000)
    documents = (Document(text=f"Row {row}: what does the miller say to the bear?", id=str(row)) for row in range(rows))
    began, used = time.perf_counter(), time.process_time()
    runner.run(documents, 0, 1)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - used}))
""",
    "data-designer": """
import json, sys, tempfile, time
from pathlib import Path
import pandas as pd
import data_designer.config as dd
from data_designer.interface import DataDesigner
base_url, rows, slots, system = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with tempfile.TemporaryDirectory() as folder:
    provider = dd.ModelProvider(name="mock", endpoint=base_url, provider_type="openai", api_key="none")
    model = dd.ModelConfig(alias="writer", model="mock", provider="mock", skip_health_check=True,
        inference_parameters=dd.ChatCompletionInferenceParams(
            temperature=0.8, max_tokens=120, max_parallel_requests=slots))
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.add_column(dd.SamplerColumnConfig(name="row", sampler_type=dd.SamplerType.UUID,
        params=dd.UUIDSamplerParams()))
    builder.add_column(dd.LLMTextColumnConfig(name="line", model_alias="writer", system_prompt=system,
        prompt="Row {{ row }}: what does the miller say to the bear?"))
    designer = DataDesigner(artifact_path=Path(folder), model_providers=[provider])
    began, used = time.perf_counter(), time.process_time()
    made = designer.create(builder, num_records=rows)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - used
    assert len(made.load_dataset()) == rows
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s}))
""",
}


def measure(engine: str, base_url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one engine and say how long it took."""
    if engine in PEERS:
        python = getattr(options, engine.replace("-", "_"))
        command = [python, "-c", PEERS[engine], base_url, str(options.rows), str(options.slots), SYSTEM]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=tempfile.gettempdir())
        took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    else:
        command = [sys.executable, "-m", "tests.benchmarks.bench_server", "--child", engine, "--base-url", base_url]
        command += ["--rows", str(options.rows), "--slots", str(options.slots)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        took = json.loads(done.stdout.splitlines()[-1])
    rate = options.rows / took["seconds"]
    return {
        "engine": engine,
        "rows_per_s": round(rate, 1),
        "of_ideal": round(rate / (options.slots / options.latency), 3),
        "cpu_ms": round(1000 * took["cpu_s"] / options.rows, 2),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Print one line for each engine and turn, engines taking turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=5120, help="a multiple of the slots: the last wave is then full")
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--in-turn", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=[*ASKING, *PEERS], default=[*ASKING, *PEERS])
    parser.add_argument("--datatrove", help="the interpreter of an environment with datatrove[inference]")
    parser.add_argument("--data-designer", help="the interpreter of an environment with data-designer")
    parser.add_argument("--child", choices=list(ASKING), help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import aiohttp  # noqa: F401 - loaded before the clock starts, as the peers are

        began, used = time.perf_counter(), time.process_time()
        ASKING[options.child](options.base_url, options.rows, options.slots)
        print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - used}))
        return
    here = [*ASKING, *(peer for peer in PEERS if getattr(options, peer.replace("-", "_")))]
    engines = [engine for engine in options.engines if engine in here]
    with server(options.latency) as base_url:
        for _ in range(options.in_turn):
            for engine in engines:
                print(json.dumps(measure(engine, base_url, options)), flush=True)


if __name__ == "__main__":
    main()
