# SPDX-License-Identifier: Apache-2.0
"""The tables of a run as Prefect artifacts: one for each stage, under a key that stays, updated as shards end."""

import json
import logging
import re
import threading
from collections.abc import Sequence
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException

from flows.watch import Row

log = logging.getLogger(__name__)


class PrefectBoard:
    """Hangs up tables at a flow run. A server that does not take one is told of once; the rows are on disk."""

    def __init__(self, client: SyncPrefectClient, flow_run_id: UUID | None, run: str) -> None:
        self._client = client
        self._flow_run_id = flow_run_id
        self._run = run
        self._lock = threading.Lock()
        self._artifacts: dict[str, UUID] = {}
        self._given_up = False

    def show(self, name: str, title: str, rows: Sequence[Row]) -> None:
        """Create the artifact, or bring it up to date."""
        data = json.dumps(list(rows))
        with self._lock:
            if self._given_up:
                return
            try:
                if name in self._artifacts:
                    self._client.update_artifact(self._artifacts[name], ArtifactUpdate(data=data))
                else:
                    created = self._client.create_artifact(
                        ArtifactCreate(
                            key=artifact_key(self._run, name),
                            type="table",
                            description=title,
                            flow_run_id=self._flow_run_id,
                            data=data,
                        )
                    )
                    self._artifacts[name] = created.id
            except (httpx.HTTPError, PrefectException) as error:
                self._given_up = True
                log.warning("Prefect's server takes no tables (%s); the run goes on", type(error).__name__)


def artifact_key(run: str, stage: str) -> str:
    """The key of a stage's table, in the letters that Prefect allows: a-z, 0-9 and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{run}-{stage}".lower()).strip("-")
