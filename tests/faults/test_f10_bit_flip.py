# SPDX-License-Identifier: Apache-2.0
"""A bit flipped in a finished file: check and publishing name the file and both hashes, and a flipped shard
is made again."""

import hashlib
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.manifest import verify_release
from flows.parquet import read_parquet
from flows.publishing import publish
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import content, open_tiny, write_run
from tests.flows.test_speech import SPEECH
from validators.errors import GateError, StorageError

pytestmark = pytest.mark.fault


def flip(whole: bytes, at: int, bit: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def test_check_names_the_file_and_both_hashes(root: Path) -> None:
    chance = random.Random(10)
    for path in [*sorted((root / "data" / "evidence").iterdir()), root / "README.md"]:
        whole = path.read_bytes()
        for _ in range(20):
            path.write_bytes(flip(whole, chance.randrange(len(whole)), chance.randrange(8)))
            name = path.relative_to(root).as_posix()
            old, new = (hashlib.sha256(text).hexdigest() for text in (whole, path.read_bytes()))
            assert f"{name}: sha256 {new}, the manifest says {old}" in verify_release(root)
        path.write_bytes(whole)
    assert verify_release(root) == []


def test_check_names_a_flip_in_the_manifest(root: Path) -> None:
    chance = random.Random(11)
    path = root / "manifest.json"
    whole = path.read_bytes()
    for _ in range(40):
        path.write_bytes(flip(whole, chance.randrange(len(whole)), chance.randrange(8)))
        (problem,) = verify_release(root)
        assert problem.startswith("manifest.json: manifest.json is damaged")


def test_page_checksums_notice_a_flip_in_the_rows(root: Path) -> None:
    path = sorted((root / "data" / "evidence").iterdir())[0]
    whole = path.read_bytes()
    with pq.ParquetFile(path) as file:
        columns = [file.metadata.row_group(0).column(n) for n in range(file.metadata.num_columns)]
    for column in columns:
        end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
        path.write_bytes(flip(whole, end - 3, 0))
        with pytest.raises(StorageError, match=path.name):
            read_parquet(path)


def test_a_flipped_shard_is_never_read_and_made_again(root: Path) -> None:
    whole = content(root)
    chance = random.Random(12)
    for name in ("part-00001.parquet", "rejected-00001.parquet", "part-00001.done.json"):
        path = root / "work" / "evidence" / name
        good = path.read_bytes()
        with open_tiny(root) as run:
            for _ in range(20):
                path.write_bytes(flip(good, chance.randrange(len(good)), chance.randrange(8)))
                assert run.done("evidence", 1) is None
                with pytest.raises(StorageError):
                    run.read_shard("evidence", 1)
        assert write_run(root) == [1]
        assert content(root) == whole


def test_a_flip_in_the_sound_of_a_clip_is_told_and_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    settings = ("writer.licence=MIT", "utterances.contextual_rows=0")
    build_in_turn(write_recipe(tmp_path, rows=3, extra=SPEECH), output, *settings)
    monkeypatch.setattr("flows.publishing.HfApi", None)  # who asks the Hub fails
    path = sorted((output / "data" / "clips").iterdir())[0]
    whole = path.read_bytes()
    place = whole.index(b"fLaC") if b"fLaC" in whole else len(whole) // 3
    path.write_bytes(flip(whole, place + 500, 3))
    name = path.relative_to(output).as_posix()
    told = f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}, the manifest says"
    assert any(problem.startswith(f"{name}: {told}") for problem in verify_release(output))
    with pytest.raises(GateError, match="sha256"):
        publish(output, "me/x")
