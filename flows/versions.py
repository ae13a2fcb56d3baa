# SPDX-License-Identifier: Apache-2.0
"""The versions of a dataset: each is a run in a folder of its own, made after all that came before it.

    outputs/feelings-versions/0001/   published
    outputs/feelings-versions/0002/   its gates failed: work/failed.json says why, and nothing of it was published
    outputs/feelings-versions/0003/   was interrupted: the next call finishes it

What lies on disk says what is to be done next, so that any call may be cut off and the next one goes on.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.atomic import make_folders, storage_errors, write_bytes
from flows.build import build
from flows.progress import Progress
from flows.publishing import RECORD, Publication, publish
from flows.recipe import Recipe, load_recipe
from flows.run_identity import MANIFEST, WORK
from flows.run_lock import RunLock
from flows.runs import read_inputs
from generators.shares import SEED_SPACE
from validators.errors import AffectoryError, GateError, HubError, InputError, RecipeMismatchError

log = logging.getLogger(__name__)

FAILED = "failed.json"
LOCK = "versions.lock"
_FOLDER = re.compile(r"\d{4}")
LAST = 9999  # four digits name a folder

Happening = Literal["published", "made", "failed", "unpublished"]
Tell = Callable[[Happening, Mapping[str, object]], None]
"""Told what became of a version, with figures; see `make_next`."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where versions are published."""

    repo: str
    public: bool = False
    branch: str = "main"
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its number, its folder, and how far it is."""

    number: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether it passed as a dataset."""
        return (self.folder / MANIFEST).exists()

    @property
    def failed(self) -> bool:
        """Whether it was made and must not be published."""
        return (self.folder / WORK / FAILED).exists()

    @property
    def published_in(self) -> str | None:
        """The repository in which it is; None for none."""
        path = self.folder / WORK / RECORD
        if not path.exists():
            return None
        with storage_errors(path):
            return str(json.loads(path.read_bytes())["repo"])


def versions_in(root: Path) -> list[Version]:
    """The versions of a folder, the oldest first."""
    if not root.is_dir():
        return []
    return [Version(int(path.name), path) for path in sorted(root.iterdir()) if _FOLDER.fullmatch(path.name)]


def version_recipe(path: Path, settings: Sequence[str], number: int) -> Recipe:
    """The recipe of a version: the first has its seed, each further one the next, so that all is drawn anew."""
    seed = load_recipe(path, settings).seed
    return load_recipe(path, [*settings, f"seed={(seed + number - 1) % SEED_SPACE}"])


def make_next(
    recipe: Path,
    settings: Sequence[str],
    root: Path,
    progress: Progress,
    *,
    destination: Destination | None = None,
    tell: Tell = lambda happening, figures: None,
) -> Version:
    """Make the next version, or finish the one begun, and publish what passed and is not published yet.

    It repeats no row of the finished versions before it, and keeps their stories in their splits. Raises what `build`
    and `publish` raise, after `tell` has heard of it: "failed" for rows that must not pass or must not be published,
    with the last good release left as it is, "unpublished" where the Hub does not do its part; the next call publishes
    that version first.
    """
    make_folders(root)
    lock = RunLock(root / LOCK)
    try:
        try:
            _publish_waiting(root, destination, tell)
        except HubError as error:
            log.warning("the next version is made all the same, and publishing is tried again after it: %s", error.what)
        version = _next_of(root)
        release = _build(version, recipe, settings, root, progress, tell)
        tell("made", {"version": version.number, **release})
        _publish_waiting(root, destination, tell)
        return version
    finally:
        lock.release()


def _next_of(root: Path) -> Version:
    """The version that was begun and neither passed nor failed, else a new one."""
    there = versions_in(root)
    if there and not (there[-1].finished or there[-1].failed):
        return there[-1]
    number = there[-1].number + 1 if there else 1
    if number > LAST:
        raise InputError(
            f"There are {LAST} versions already.", where=str(root), next_step="go on in another --versions folder"
        )
    return Version(number, root / f"{number:04d}")


def _build(  # noqa: PLR0917 - which version of what, and who is told
    version: Version, path: Path, settings: Sequence[str], root: Path, progress: Progress, tell: Tell
) -> dict[str, object]:
    before = [one.folder for one in versions_in(root) if one.finished and one.number < version.number]
    inputs = read_inputs(version_recipe(path, settings, version.number), before)
    try:
        try:
            release = build(inputs, version.folder, progress)
        except RecipeMismatchError:
            # the recipe or its stories changed since this version was begun: no reader has seen it yet
            release = build(inputs, version.folder, progress, rebuild=True)
    except GateError as error:
        _fail(version, error, tell)
        raise
    reasons = release.reasons
    repeated = int(reasons["rows"][reasons["reason"].astype(str).str.endswith("_duplicate")].sum())
    return {
        "planned": release.planned,
        "kept": release.kept,
        "rejected": release.rejected,
        "repeated": repeated,
        "short": len(release.short),
        "dialogues": release.dialogues.kept.num_rows if release.dialogues else 0,
        "clips": release.clips.kept.num_rows if release.clips else 0,
    }


def _publish_waiting(root: Path, destination: Destination | None, tell: Tell) -> None:
    """Publish what passed and is not in the repository yet, in the order in which it was made."""
    if destination is None:
        return
    there = versions_in(root)
    last = max((one.number for one in there if one.published_in == destination.repo), default=0)
    # one that is older than what readers have would take them back
    for version in [one for one in there if one.finished and not one.failed and one.number > last]:
        try:
            done = publish(
                version.folder,
                destination.repo,
                public=destination.public,
                branch=destination.branch,
                allow=destination.allow,
            )
        except GateError as error:  # waiting longer will not help, and must not hold back the versions after it
            _fail(version, error, tell)
            raise
        except AffectoryError as error:
            tell("unpublished", {"version": version.number, "what": error.what, "where": error.where})
            raise
        tell("published", _published(version, done))


def _fail(version: Version, error: GateError, tell: Tell) -> None:
    """Note that a version must not be published, and why."""
    figures = {"version": version.number, "what": error.what, "where": error.where, "next_step": error.next_step}
    write_bytes(version.folder / WORK / FAILED, json.dumps(figures, indent=1).encode() + b"\n")
    tell("failed", figures)


def _published(version: Version, done: Publication) -> dict[str, object]:
    return {
        "version": version.number,
        "repo": done.repo,
        "tag": done.version,
        "commit": done.commit,
        "files": len(done.adds),
        "bytes": done.bytes,
    }
