# SPDX-License-Identifier: Apache-2.0
"""What the summary of a finished release keeps for later commands, and whether the plans behind it are still there."""

import json
import logging
from dataclasses import dataclass
from typing import Final

from flows.atomic import storage_errors
from flows.dialogue_rounds import PLAN as DIALOGUES_PLAN
from flows.quotas import STAGE as UTTERANCES_PLAN
from flows.run_folder import RunFolder
from flows.speech import PLAN as CLIPS_PLAN
from validators.errors import StorageError

log = logging.getLogger(__name__)

SUMMARY: Final = "summary.json"


@dataclass(frozen=True)
class Told:
    """Why labels fell short, and how many rows each plan had, by the stage that made it."""

    short: dict[str, str]
    planned: dict[str, int]

    def has_its_plans(self, folder: RunFolder) -> bool:
        """Whether all rows that were planned still are: a plan that is lost would let its rows be forgotten."""
        return all(
            sum(record.planned for record in folder.stage_records(plan)) >= count
            for plan, count in self.planned.items()
        )


def read_told(folder: RunFolder) -> Told | None:
    """Read the summary; None where it is missing or damaged, and the release is to be made anew."""
    path = folder.work / SUMMARY
    try:
        with storage_errors(path):
            content = json.loads(path.read_bytes())
        short = {str(label): str(why) for label, why in content["short"].items()}
        planned = {UTTERANCES_PLAN: int(content["planned"])}
        for name, plan in (("dialogues", DIALOGUES_PLAN), ("clips", CLIPS_PLAN)):
            if name in content:
                planned[plan] = int(content[name]["planned"])
    except (StorageError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is missing or damaged (%s); the release is made anew", path, type(error).__name__)
        return None
    return Told(short, planned)
