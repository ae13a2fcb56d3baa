# SPDX-License-Identifier: Apache-2.0
"""A finished shard or a file of the release deleted, renamed or swapped: told as missing and never taken for done,
publishing refuses before it asks the Hub, and the next build makes it again without a call of the model."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.manifest import verify_release
from flows.publishing import publish
from tests.flows.builds import build_in_turn, write_recipe
from validators.errors import GateError

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    recipe, output = write_recipe(folder, rows=24), folder / "out"
    build_in_turn(recipe, output, "shard_rows=8")
    return recipe, output


def delete(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("00000", "00007")))


def swap(path: Path) -> None:
    """Put another file of the same kind in its place."""
    other = sorted(one for one in path.parent.iterdir() if one.name[:5] == path.name[:5] and one != path)[0]
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("what", [delete, rename])
def test_a_file_of_the_release(
    finished: tuple[Path, Path], tmp_path: Path, what: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, output = finished
    root = shutil.copytree(output, tmp_path / "out")
    path = sorted(root.glob("data/utterances/train-*.parquet"))[0]
    what(path)
    name = path.relative_to(root).as_posix()
    assert f"{name}: missing" in verify_release(root)
    if what is rename:
        assert f"{name.replace('00000-of', '00007-of')}: not in the manifest" in verify_release(root)
    monkeypatch.setattr("flows.publishing.HfApi", None)  # who asks the Hub fails
    with pytest.raises(GateError, match="missing"):
        publish(root, "me/x")
    monkeypatch.setattr("generators.backends.echo.reply_to", None)  # who asks the model fails
    build_in_turn(recipe, root, "shard_rows=8")
    assert verify_release(root) == []
    assert (root / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()


RECORD, KEPT, REJECTED = "part-00000.done.json", "part-00000.parquet", "rejected-00000.parquet"


@pytest.mark.parametrize(
    ("stage", "file", "what"),
    [(stage, file, delete) for stage in ("evidence", "plan", "utterances", "duplicates") for file in (RECORD, KEPT)]
    + [("utterances", REJECTED, rename), ("utterances", KEPT, rename), ("plan", REJECTED, delete)]
    + [("utterances", file, swap) for file in (RECORD, KEPT, REJECTED)],
)
def test_a_file_of_a_finished_shard(
    finished: tuple[Path, Path],
    tmp_path: Path,
    stage: str,
    file: str,
    what: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, output = finished
    root = shutil.copytree(output, tmp_path / "out")
    path = root / "work" / stage / file
    what(path)
    monkeypatch.setattr("generators.backends.echo.reply_to", None)
    build_in_turn(recipe, root, "shard_rows=8")
    assert path.read_bytes() == (output / "work" / stage / file).read_bytes()
    assert (root / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()
