# SPDX-License-Identifier: Apache-2.0
"""Which run a folder belongs to, and what of it may be removed to begin anew."""

import importlib.metadata
import json
import logging
import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from flows.atomic import is_temp, refuse_symlink, storage_errors
from flows.identity import difference, fingerprint, quotas_of
from validators.errors import InputError, RecipeMismatchError, StorageError
from validators.schemas import SCHEMA_VERSION

log = logging.getLogger(__name__)

RUN_JSON: Final = "run.json"
LOCK: Final = "run.lock"
WORK: Final = "work"
DATA: Final = "data"
REPLIES: Final = "replies.sqlite"
WORKER_REPLIES: Final = "replies"
PLAN: Final = "plan.json"
CARD: Final = "README.md"
MANIFEST: Final = "manifest.json"
REPORT: Final = "report.html"
DATA_DOCS: Final = "data_docs/index.html"
QUALITY: Final = "quality.json"
CROISSANT: Final = "croissant.json"

RELEASE_FILE: Final = re.compile(r"[a-z][a-z0-9_]{0,40}-\d{5}-of-\d{5}\.(parquet|tar)")
_SHARD_FILE: Final = re.compile(r"(part|rejected)-\d{5}\.parquet|part-\d{5}\.done\.json")


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that cannot be made a run's, before anything is written to it."""
    refuse_symlink(root)
    if not root.exists():
        if not root.parent.is_dir():
            raise StorageError(
                f"the folder {root.parent} does not exist",
                where=str(root),
                next_step="create it, or choose another --output folder",
            )
        return
    if not root.is_dir():
        raise StorageError(f"{root.name} is not a folder", where=str(root), next_step="choose another --output folder")
    for name in (WORK, DATA):
        refuse_symlink(root / name)
    with storage_errors(root):
        if (root / RUN_JSON).exists():
            return
        # replies may be carried over from another run, or come from a probe: they are keyed by what produced them
        foreign = sorted(path.name for path in root.iterdir() if not (path.name == LOCK or is_temp(path)))
        foreign += sorted(path.name for path in _inside(root / WORK) if not path.name.startswith((REPLIES, PLAN)))
    foreign = [name for name in foreign if name != WORK]
    if foreign:
        raise InputError(
            f"the folder has no {RUN_JSON} but holds {_some(foreign)}: it is not a run's",
            where=str(root),
            next_step="choose another --output folder, or empty this one",
        )


def run_json(identity: Mapping[str, str], recipe: Mapping[str, object]) -> bytes:
    """Say whose run this is, and with what it was begun."""
    content = {
        "fingerprint": fingerprint(identity),
        "identity": dict(sorted(identity.items())),
        "recipe": dict(recipe),
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "affectory": _own_version(),
            "pyarrow": pa.__version__,
            "python": platform.python_version(),
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_identity(root: Path) -> dict[str, str] | None:
    """Read whose run this is; None if nobody's yet. A damaged file is an error: guessing could mix two runs."""
    path = root / RUN_JSON
    refuse_symlink(path)
    if not path.exists():
        return None
    with storage_errors(path):
        return parse_identity(path.read_bytes(), path)


def parse_identity(text: bytes, where: object) -> dict[str, str]:
    """Read an identity from what `run_json` wrote; StorageError where that is damaged."""
    try:
        content = json.loads(text)
        identity = content["identity"]
        if not isinstance(identity, dict) or fingerprint(identity) != content["fingerprint"]:
            raise ValueError("its fingerprint does not match its identity")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(
            f"{RUN_JSON} is damaged ({type(error).__name__}), so the recipe of this run is unknown",
            where=str(where),
            next_step=f"restore it from a copy, or choose another --output folder; to keep the replies already "
            f"paid for, copy {WORK}/{REPLIES} into its {WORK}/ first",
        ) from error
    return {str(key): str(value) for key, value in identity.items()}


def read_quotas(root: Path) -> dict[str, str]:
    """Read the quotas that a run was last asked for; `read_identity` has found its file whole."""
    with storage_errors(root / RUN_JSON):
        recipe = json.loads((root / RUN_JSON).read_bytes()).get("recipe")
    return quotas_of(recipe) if isinstance(recipe, dict) else {}


def compare_identity(root: object, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Refuse to continue a run by another recipe, naming each key that differs."""
    changes = difference(old, new)
    if changes:
        lines = "\n".join(f"  {change}" for change in changes)
        raise RecipeMismatchError(
            f"the folder holds a run of another recipe:\n{lines}",
            where=str(root),
            next_step="choose another --output folder, or --rebuild to begin anew (replies that still apply are kept)",
        )


def remove_temps(root: Path) -> None:
    """Remove what killed writes left; only under the lock, since a temp file may be another run's."""
    for folder, _, names in os.walk(root):  # does not follow links
        for path in (Path(folder) / name for name in names):
            if is_temp(path):
                log.info("removing %s, left by a write that did not end", path)
                with storage_errors(path):
                    path.unlink()


def remove_made(root: Path) -> None:
    """Remove what a run makes, by name, and nothing else; the replies, the lock and run.json stay."""
    with storage_errors(root):
        for name in (
            MANIFEST,
            CARD,
            REPORT,
            DATA_DOCS,
            QUALITY,
            CROISSANT,
        ):  # the manifest first: it vouches for the rest
            (root / name).unlink(missing_ok=True)
        if (docs := (root / DATA_DOCS).parent).is_dir():
            _remove_if_empty(docs)
        for folder, made in ((root / DATA, RELEASE_FILE), (root / WORK, _SHARD_FILE)):
            for part in [path for path in _inside(folder) if path.is_dir() and not path.is_symlink()]:
                for path in _inside(part):
                    if made.fullmatch(path.name):
                        path.unlink()
                _remove_if_empty(part)
        if (root / DATA).is_dir():
            _remove_if_empty(root / DATA)


def is_made(path: str) -> bool:
    """Whether a path, from a run's folder on, is of something that the run makes: shards and release."""
    folder, _, name = path.rpartition("/")
    if folder.startswith(f"{WORK}/"):
        return _SHARD_FILE.fullmatch(name) is not None
    if folder.startswith(f"{DATA}/"):
        return RELEASE_FILE.fullmatch(name) is not None
    return path in {MANIFEST, CARD, QUALITY, CROISSANT}


def _inside(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _own_version() -> str:
    try:
        return importlib.metadata.version("affectory")
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
