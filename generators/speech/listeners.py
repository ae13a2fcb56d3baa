# SPDX-License-Identifier: Apache-2.0
"""What a listener backend needs to start; the Listener role itself is in `validators.roles`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What a listener backend needs to start. Which fields matter is up to the backend; see its module."""

    name: str
    """Name of the model that makes the transcript, for rows and reports."""
    revision: str = ""
    """Commit of a Hub repository or sha256 of a file; part of `Listener.model`."""
    weights: PurePath | None = None
    """A local folder with that model; the small models for quality, speaker and pitch come in their packages."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Passed to the engine that makes the transcript as it is."""
