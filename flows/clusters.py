# SPDX-License-Identifier: Apache-2.0
"""Clusters whose workers make shards: how to reach one, what it can take, and what it says when a worker is lost."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from flows.cluster_role import Cluster
from validators.errors import InputError

INSTALL: Final = "pip install 'affectory[cluster]', or `make setup-cluster` in a checkout"


class Workers(Protocol):
    """A cluster that is connected to."""

    task_runner: Any
    """Prefect's, of this cluster."""
    lost: tuple[type[BaseException], ...]
    """What a task ends with whose worker died, after the cluster has tried it again elsewhere."""

    def capacity(self) -> int:
        """How many shards it can work on at a time; it may grow and shrink."""
        ...

    def claim(self) -> AbstractContextManager[object]:
        """What a task that is submitted within takes of the cluster."""
        ...


@contextmanager
def connect(runner: str, role: Cluster) -> Iterator[Workers]:
    """Connect to the cluster that a recipe names, or start workers on this machine; an own one ends with the block."""
    for module in (f"prefect_{runner}", {"ray": "ray", "dask": "distributed"}[runner]):
        if find_spec(module) is None:
            raise InputError(f"runner: {runner} needs the package {module}, which is not here.", next_step=INSTALL)
    opened = {"ray": _ray, "dask": _dask}[runner](role)
    with opened as workers:
        yield workers


def check_api(hosts: set[str], here: str) -> None:
    """Refuse a cluster whose other machines cannot reach Prefect's server, to which every task reports."""
    url = os.environ.get("PREFECT_API_URL", "")
    others = sorted(hosts - {here, "127.0.0.1", "localhost"})
    if others and urlsplit(url).hostname in {None, "127.0.0.1", "localhost", "::1"}:
        raise InputError(
            f"Workers on {', '.join(others[:3])} cannot reach Prefect's server, which listens on this machine alone.",
            where=f"PREFECT_API_URL={url}",
            next_step="run `prefect server start --host 0.0.0.0` on a machine that all reach, set PREFECT_API_URL to "
            "http://<that machine>:4200/api, and run again",
        )


@contextmanager
def _ray(role: Cluster) -> Iterator[Workers]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # said, or Ray warns that it will change
    token = Path.home() / ".ray" / "auth_token"
    if token.exists() or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # `ray start` uses a token that it finds, a client must be told
    ray: Any = import_module("ray")
    address = role.address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"num_cpus": role.workers * role.cpus, "include_dashboard": False} if address == "local" else {}
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(address=address, namespace="affectory", log_to_driver=False, logging_level="ERROR", **own)
        except ConnectionError as error:
            raise InputError(
                f"There is no Ray cluster at {address}, or it knows another token.",
                where="cluster.address, or RAY_ADDRESS",
                next_step="start one with `ray start --head`, or name its address and have its ~/.ray/auth_token here",
            ) from error
    try:
        alive = {str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
        check_api(alive, str(ray.util.get_node_ip_address()))
        yield _RayWorkers(ray, role)
    finally:
        if began:
            ray.shutdown()


class _RayWorkers:
    def __init__(self, ray: Any, role: Cluster) -> None:
        self._ray, self._role = ray, role
        # it finds Ray connected already, and leaves the connection to us
        self.task_runner: Any = import_module("prefect_ray").RayTaskRunner()
        errors = ray.exceptions
        self.lost: tuple[type[BaseException], ...] = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
            errors.RaySystemError,
        )

    def capacity(self) -> int:
        total = self._ray.cluster_resources()
        shares = [total.get("CPU", 0.0) / self._role.cpus]
        shares += [total.get("GPU", 0.0) / self._role.gpus] if self._role.gpus else []
        return max(1, int(min(shares)))

    def claim(self) -> AbstractContextManager[object]:
        context: Any = import_module("prefect_ray.context")
        claimed: AbstractContextManager[object] = context.remote_options(
            num_cpus=self._role.cpus, num_gpus=self._role.gpus
        )
        return claimed


@contextmanager
def _dask(role: Cluster) -> Iterator[Workers]:
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # our errors are told once, by the command line
    distributed: Any = import_module("distributed")
    config: Any = import_module("dask").config
    address = role.address or os.environ.get("DASK_SCHEDULER_ADDRESS")
    with ExitStack() as stack:
        if address is None:
            stack.enter_context(config.set({"distributed.worker.daemon": False}))  # who speaks has processes of its own
            # a memory limit would have models, which are large and stay, taken for a leak
            cluster = distributed.LocalCluster(
                n_workers=role.workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
            )
            stack.enter_context(cluster)
            address = cluster.scheduler_address
        try:
            client = stack.enter_context(distributed.Client(address, set_as_default=False))
        except OSError as error:
            raise InputError(
                f"There is no Dask scheduler at {address}.",
                where="cluster.address, or DASK_SCHEDULER_ADDRESS",
                next_step="start one with `dask scheduler` and workers with `dask worker`, or name its address",
            ) from error
        hosts = {str(urlsplit(worker).hostname) for worker in client.nthreads()}
        check_api(hosts, str(import_module("distributed.utils").get_ip()))
        yield _DaskWorkers(client, str(address))


class _DaskWorkers:
    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.task_runner: Any = import_module("prefect_dask").DaskTaskRunner(address=address)
        self.lost: tuple[type[BaseException], ...] = (
            import_module("distributed.scheduler").KilledWorker,
            import_module("distributed.client").FutureCancelledError,
            import_module("distributed.comm").CommClosedError,
        )

    def capacity(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def claim(self) -> AbstractContextManager[object]:
        return nullcontext()
