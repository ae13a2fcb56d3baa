# SPDX-License-Identifier: Apache-2.0
"""Finds the file with Kokoro's voices, which no Python package has: an npm tarball, pinned by its hash."""

from pathlib import Path

from flows.weights_files import file_sha256, prepare_cache
from validators.errors import ModelError

KOKORO_VOICES = "kokoro-js-1.2.1.tgz"
KOKORO_VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"


def find_kokoro_voices(*, cache: Path) -> Path:
    """Find the tarball in the cache folder, where `npm pack` puts it; it is hashed once and never unpacked.

    Raises `ModelError` with the command where it is missing or another file.
    """
    prepare_cache(cache)
    path = cache / KOKORO_VOICES
    # `npm pack` alone: `npm install` would fetch a second copy of an engine that is not used.
    command = f"npm pack kokoro-js@1.2.1 --pack-destination '{cache}'"
    if not path.is_file():
        raise ModelError("the voices of Kokoro are not there", where=str(path), next_step=command)
    found = file_sha256(path, cache=cache)
    if found != KOKORO_VOICES_SHA256:
        raise ModelError(
            f"{KOKORO_VOICES} is not the expected file: sha256 expected {KOKORO_VOICES_SHA256}, found {found}",
            where=str(path),
            next_step=f"Delete it, then: {command}",
        )
    return path
