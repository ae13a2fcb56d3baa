# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about a server that the run starts for a writer."""

from typing import Annotated

from pydantic import Field

from validators.records import Record, Text


class Serve(Record):
    """How vLLM's server for a writer is started. None of it decides a row, so all of it may change between commands.

    `serve: true` takes the defaults. What can change rows (dtype, quantization) stands in the writer's options.
    """

    python: Text | None = None  # of the environment that has vLLM; else AFFECTORY_VLLM_PYTHON, .venv-vllm, or our own
    gpus: Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...] | None, Field(strict=False, min_length=1)] = (
        None  # which GPUs it sees; servers on different ones need not share their memory
    )
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1  # GPUs that one model is spread over
    memory: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # of each GPU; else 0.9, divided among those that share it
    )
    prefix_caching: bool = True  # prompts begin alike: nine tokens in ten were served from the cache
    ready_within_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0  # 30 s seen for a small model, minutes for 70B


def serve_of(value: object) -> object:
    """Read `serve: true` as a server with defaults, and false as none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value
