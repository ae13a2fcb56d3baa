# SPDX-License-Identifier: Apache-2.0
"""The voices' tarball is the expected one, or the user is told how to get it."""

import hashlib
from pathlib import Path

import pytest

from flows import voice_files
from flows.voice_files import KOKORO_VOICES, find_kokoro_voices
from validators.errors import ModelError


def test_missing_voices_are_told_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_kokoro_voices(cache=tmp_path / "cache")
    assert caught.value.next_step == f"npm pack kokoro-js@1.2.1 --pack-destination '{tmp_path / 'cache'}'"


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / KOKORO_VOICES).write_bytes(b"other voices")
    with pytest.raises(ModelError, match="is not the expected file"):
        find_kokoro_voices(cache=tmp_path)


def test_the_right_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / KOKORO_VOICES).write_bytes(b"voices")
    monkeypatch.setattr(voice_files, "KOKORO_VOICES_SHA256", hashlib.sha256(b"voices").hexdigest())
    assert find_kokoro_voices(cache=tmp_path) == tmp_path / KOKORO_VOICES
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert find_kokoro_voices(cache=tmp_path) == tmp_path / KOKORO_VOICES
