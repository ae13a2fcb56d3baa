# SPDX-License-Identifier: Apache-2.0
"""What earlier versions of a dataset hold: rows that must not come again, and the split in which each story stands."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.atomic import storage_errors
from flows.manifest import ReleaseFile, read_manifest, verify_release
from flows.run_identity import MANIFEST
from generators.plans import PairKey
from validators.errors import InputError
from validators.records import Split


@dataclass(frozen=True)
class Earlier:
    """The rows of earlier versions, each named `<number of its version>/<id>`, so that they come before new ones."""

    utterances: dict[str, str] = field(default_factory=dict)
    """Name -> text."""
    dialogues: dict[str, str] = field(default_factory=dict)
    """Name -> all its turns."""
    splits: dict[str, Split] = field(default_factory=dict)
    """Story -> the split in which its rows are."""
    pairs: tuple[PairKey, ...] = ()
    """One for each row: what it was asked from."""
    versions: int = 0
    """How many versions they are of."""
    sha256: str = ""
    """Of their manifests; "" where there are none."""


NOTHING = Earlier()


def read_earlier(folders: Sequence[Path]) -> Earlier:
    """Read finished releases, the oldest first; raises InputError for one that is none, or where splits differ."""
    found, digest = Earlier(), hashlib.sha256()
    pairs: list[PairKey] = []
    for number, folder in enumerate(folders, start=1):
        if problems := verify_release(folder):
            raise InputError(
                f"{folder.name} is no finished release: {problems[0]}",
                where=str(folder),
                next_step="name finished versions only, or build that one again first",
            )
        manifest = read_manifest(folder)
        with storage_errors(folder / MANIFEST):
            digest.update((folder / MANIFEST).read_bytes())
        columns = ["utterance_id", "story_id", "section", "character", "intended", "text", "split"]
        for row in _rows(folder, manifest.files, "utterances", columns):
            found.utterances[f"{number:04d}/{row['utterance_id']}"] = row["text"]
            pairs.append((row["story_id"], row["section"], row["character"], row["intended"]["label"]))
            _settle(found, row["story_id"], row["split"], folder)
        for row in _rows(folder, manifest.files, "dialogues", ["dialogue_id", "story_id", "turns", "split"]):
            found.dialogues[f"{number:04d}/{row['dialogue_id']}"] = whole_text(row["turns"])
            if row["story_id"]:
                _settle(found, row["story_id"], row["split"], folder)
    return replace(found, pairs=tuple(pairs), versions=len(folders), sha256=digest.hexdigest() if folders else "")


def whole_text(turns: Sequence[dict[str, str]]) -> str:
    """The lines of a dialogue, as duplicates are searched among them."""
    return "\n".join(turn["text"] for turn in turns)


def _rows(folder: Path, files: Sequence[ReleaseFile], config: str, columns: list[str]) -> list[dict[str, Any]]:
    paths = [folder / file.path for file in files if file.path.startswith(f"data/{config}/") and file.rows is not None]
    tables = [pq.read_table(path, columns=columns) for path in paths]
    return [row for table in tables for row in table.to_pylist()]


def _settle(found: Earlier, story_id: str, split: Split, folder: Path) -> None:
    """Note where a story stands; one that stands in two splits would leak whichever is chosen."""
    if found.splits.setdefault(story_id, split) != split:
        raise InputError(
            f"The story {story_id} is in the split {found.splits[story_id]} of one earlier version and in {split} of "
            f"{folder.name}.",
            where=str(folder),
            next_step="name versions of which each was built after the ones before it",
        )
