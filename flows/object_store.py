# SPDX-License-Identifier: Apache-2.0
"""A folder of an S3-compatible object store. An object is there whole or not at all, so a write needs no rename.

Keys and endpoint are found as every S3 client finds them: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, profiles, roles.
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from flows.atomic import storage_errors, sync_folder
from validators.errors import InputError, StorageError

_REFUSED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Listed(NamedTuple):
    """An object as it is listed."""

    bytes: int
    etag: str
    """The MD5 of its content where it was put whole, unless the store encrypts."""


class ObjectStore:
    """The objects below `s3://bucket/prefix`, named by their paths from there on."""

    def __init__(self, url: str) -> None:
        if find_spec("s3fs") is None:
            raise InputError(
                "storage: s3://... needs the package s3fs, which is not here.",
                next_step="pip install 'affectory[cluster]', or `make setup-cluster` in a checkout",
            )
        self.url = url.rstrip("/")
        self._root = self.url.removeprefix("s3://")
        # without its cache of listings: another process writes too
        self._files: Any = import_module("s3fs").S3FileSystem(use_listings_cache=False)

    def read(self, path: str) -> bytes | None:
        """Read an object; None if there is none."""
        with self._told(path):
            try:
                content: bytes = self._files.cat_file(self._key(path))
            except FileNotFoundError:
                return None
            return content

    def write(self, path: str, content: bytes) -> None:
        """Write an object, in place of an older one."""
        with self._told(path):
            self._files.pipe_file(self._key(path), content)

    def create(self, path: str, content: bytes) -> str | None:
        """Write an object that must not be there yet; its ETag, or None if it is there."""
        return self._conditionally(path, content, mode="create")

    def replace(self, path: str, content: bytes, etag: str) -> str | None:
        """Write an object in place of the one with this ETag; the new ETag, or None if it has changed meanwhile."""
        return self._conditionally(path, content, IfMatch=etag)

    def etag(self, path: str) -> str | None:
        """The ETag of an object, which changes with its content; None if there is none."""
        with self._told(path):
            try:
                return str(self._files.info(self._key(path), refresh=True)["ETag"])
            except FileNotFoundError:
                return None

    def upload(self, source: Path, path: str) -> None:
        """Upload a file."""
        with self._told(path):
            self._files.put_file(str(source), self._key(path))

    def download(self, path: str, target: Path) -> None:
        """Download an object to a file, which is there whole or not at all; StorageError if there is none."""
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temp = target.with_name(f".{target.name}.0.{secrets.token_hex(4)}.tmp")  # as `atomic.is_temp` knows them
            try:
                with self._told(path):
                    self._files.get_file(self._key(path), str(temp))
                temp.replace(target)
            finally:
                temp.unlink(missing_ok=True)
        sync_folder(target.parent)

    def list(self, folder: str = "") -> dict[str, Listed]:
        """All objects below a folder, by path."""
        with self._told(folder or "/"):
            found = self._files.find(self._key(folder) if folder else self._root, detail=True)
        start = len(self._root) + 1
        return {key[start:]: Listed(int(info["size"]), str(info["ETag"]).strip('"')) for key, info in found.items()}

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, one after the other in this order; one that is not there is no error."""
        for path in paths:
            with self._told(path):
                self._files.call_s3("delete_object", Bucket=self._bucket(), Key=self._key(path).partition("/")[2])

    def _bucket(self) -> str:
        return self._root.partition("/")[0]

    def _key(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _conditionally(self, path: str, content: bytes, **condition: str) -> str | None:
        with self._told(path):
            try:
                return str(self._files.pipe_file(self._key(path), content, **condition)["ETag"])
            except FileExistsError:
                return None
            except OSError as error:
                response = getattr(error.__cause__, "response", {})
                if response.get("Error", {}).get("Code") in _REFUSED:
                    return None
                raise

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Turn what the store or the way to it can say into a `StorageError` that says what to do."""
        try:
            yield
        except (OSError, import_module("botocore.exceptions").BotoCoreError) as error:
            raise StorageError(
                f"the object store does not serve {path}: {error}",
                where=f"{self.url}/{path}",
                next_step="see that the bucket exists and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a server "
                "of your own, AWS_ENDPOINT_URL are set; then run the same command again",
            ) from error
