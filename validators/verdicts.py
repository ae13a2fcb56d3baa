# SPDX-License-Identifier: Apache-2.0
"""A gate's answer about one row."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Verdict:
    """Accepted (no reason) or rejected: `reason` is a key that is counted, `detail` is prose for a person."""

    reason: str | None = None
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the row may pass."""
        return self.reason is None

    @classmethod
    def reject(cls, reason: str, detail: str = "") -> Self:
        """Reject a row; `detail` is cut to 200 characters, since it is stored beside the row."""
        return cls(reason, detail[:200])


ACCEPTED = Verdict()
