# SPDX-License-Identifier: Apache-2.0
"""Bring a release from an object store: the files that its manifest lists."""

from pathlib import Path
from tempfile import TemporaryDirectory

from flows.manifest import read_manifest, verify_release
from flows.object_store import ObjectStore
from flows.run_identity import MANIFEST
from validators.errors import InputError


def check_release(place: str, into: Path | None = None) -> list[str]:
    """List what is wrong with the release in a folder, or in an object store, of which `into` keeps a copy."""
    if not place.startswith("s3://"):
        if into is not None:
            raise InputError("--into belongs to a release in an object store", next_step="leave it out")
        return verify_release(Path(place))
    if into is not None:
        return fetch_release(place, into)
    with TemporaryDirectory() as folder:
        return fetch_release(place, Path(folder))


def fetch_release(url: str, folder: Path) -> list[str]:
    """Download a release into an empty folder and check it; lists what is wrong with it ([] if nothing).

    The folder then lacks its manifest where something is wrong, so that nobody takes it for whole.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty", where=str(folder), next_step="name a folder that is not there yet")
    folder.mkdir(parents=True, exist_ok=True)
    store = ObjectStore(url)
    listed = store.list()
    if MANIFEST not in listed:
        return [f"{MANIFEST}: missing; the release is not finished"]
    store.download(MANIFEST, folder / MANIFEST)
    for file in read_manifest(folder).files:  # which refuses paths that lead out of the folder
        if file.path in listed:
            store.download(file.path, folder / file.path)
    problems = verify_release(folder)
    problems += [
        f"{path}: not in the manifest"
        for path in sorted(listed)
        if path.startswith("data/") and path not in {file.path for file in read_manifest(folder).files}
    ]
    if problems:
        (folder / MANIFEST).unlink()
    return problems
