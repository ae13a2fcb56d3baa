# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about where shards are made: in threads of this process, or by workers of a cluster."""

from typing import Annotated, Literal

from pydantic import Field

from validators.records import Record, Text

Runner = Literal["threads", "ray", "dask"]


class Cluster(Record):
    """Where the workers of `runner: ray` or `runner: dask` are, and what a shard takes of them."""

    address: Text | None = None  # of Ray's head or Dask's scheduler; else RAY_ADDRESS or DASK_SCHEDULER_ADDRESS
    workers: Annotated[int, Field(ge=1, le=1024)] = 2  # started on this machine where no address is known
    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0  # of Ray that a shard takes; as many shards run as CPUs allow
    gpus: Annotated[float, Field(ge=0, le=64)] = 0.0  # of Ray; without any, Ray hides the GPUs from its workers
