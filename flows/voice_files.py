# SPDX-License-Identifier: Apache-2.0
"""Voices that lie in files: Kokoro's, an npm tarball that is pinned by its hash, and recordings of people."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from flows.strict_yaml import load_strict
from flows.weights_files import file_sha256, prepare_cache
from validators.errors import InputError, ModelError
from validators.problems import Place, ProblemsError, did_you_mean
from validators.records import Record, Text
from validators.speech_records import ReferenceVoice
from validators.taxonomy import canonical_names

KOKORO_VOICES = "kokoro-js-1.2.1.tgz"
KOKORO_VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"

SHORTEST_S = 1.0  # less says nothing of a voice; XTTS wants some six seconds
SILENT = 0.003  # peak, -50 dB full scale


class References(Record):
    """A file of voices given by recordings."""

    voices: Annotated[dict[Text, ReferenceVoice], Field(min_length=1)]

    @model_validator(mode="after")
    def _knows_feelings(self) -> Self:
        problems: list[tuple[Place, str]] = [
            (("voices", name, "clips", feeling), f"is no canonical label. {did_you_mean(feeling, canonical_names())}")
            for name, voice in self.voices.items()
            for feeling in voice.clips
            if feeling not in canonical_names()
        ]
        if problems:
            raise ProblemsError(problems)
        return self


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


def read_references(path: Path) -> tuple[dict[str, ReferenceVoice], str]:
    """Read a file of reference clips, with the clips' absolute paths, and a hash of all that it names.

    Raises `InputError` with the line of what is wrong, and for a clip that is missing, silent or too short.
    """
    voices = load_strict(path, References).voices
    digest = hashlib.sha256(json.dumps({n: v.model_dump(mode="json") for n, v in voices.items()}).encode())
    found = {}
    for name, voice in voices.items():
        clips = {
            feeling: tuple(str((path.parent / file).resolve()) for file in files)
            for feeling, files in voice.clips.items()
        }
        for file in (file for files in clips.values() for file in files):
            _check_clip(Path(file))
            digest.update(Path(file).read_bytes())
        found[name] = voice.model_copy(update={"clips": clips})
    return found, digest.hexdigest()[:12]


def _check_clip(path: Path) -> None:
    import soundfile

    next_step = "name a recording of one speaker, some six seconds of clean speech"
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"a reference clip cannot be read: {error}", where=str(path), next_step=next_step) from error
    if len(samples) < SHORTEST_S * rate:
        what = f"a reference clip has {len(samples) / rate:.2f} s, less than {SHORTEST_S:g}"
        raise InputError(what, where=str(path), next_step=next_step)
    if np.abs(samples).max() < SILENT:
        raise InputError("a reference clip is silent", where=str(path), next_step=next_step)
