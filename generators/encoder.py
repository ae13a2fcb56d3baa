# SPDX-License-Identifier: Apache-2.0
"""What an encoder backend needs to start; the Encoder role itself is in `validators.roles`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What an Encoder backend needs to start. Which fields matter is up to the backend; see its module."""

    name: str
    """Model name, for rows and reports."""
    revision: str = ""
    """Commit of a Hub repository or sha256 of a file; part of `Encoder.model`."""
    weights: PurePath | None = None
    """A local folder with the model."""
    batch_rows: int = 64
    """Texts per forward pass: more need more memory and gain nothing on a CPU."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Passed to the engine as it is."""
