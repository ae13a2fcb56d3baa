# SPDX-License-Identifier: Apache-2.0
"""The record that proves a shard whole: written last, with the sizes and hashes of its files."""

import logging

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.atomic import FileDigest
from flows.sealed import SealError, canonical_json, unseal
from validators.errors import AffectoryError
from validators.schemas import SCHEMA_VERSION

log = logging.getLogger(__name__)

Identity = tuple[str, int, str]
"""Stage, shard and fingerprint of the run: what a record must be of."""


class AccountingError(AffectoryError):
    """Planned rows are neither kept nor rejected, or are both: a bug, and never to be written to disk."""


class DoneRecord(BaseModel):
    """What a finished shard holds. `reasons` counts the rejected rows, `counts` whatever else the stage counted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    stage: str
    index: int = Field(ge=0)
    planned: int = Field(ge=0)
    kept: int = Field(ge=0)
    rejected: int = Field(ge=0)
    reasons: dict[str, int]
    counts: dict[str, int]
    kept_file: FileDigest
    rejected_file: FileDigest
    schema_version: int
    fingerprint: str


def parse_record(content: bytes, expected: Identity, where: object) -> DoneRecord | None:
    """Read a record; None, and a warning, where it is damaged or of another shard, run or schema."""
    try:
        record = DoneRecord.model_validate_json(canonical_json(unseal(content)))
    except (SealError, ValidationError) as error:
        log.warning("%s is damaged (%s); the shard is made again", where, type(error).__name__)
        return None
    if (record.stage, record.index, record.fingerprint, record.schema_version) != (*expected, SCHEMA_VERSION):
        log.warning("%s belongs to another run or shard; the shard is made again", where)
        return None
    return record
