# SPDX-License-Identifier: Apache-2.0
"""Files cut at every seventh of their length, as a power cut leaves them: noticed, named, made again, never guessed."""

import logging
import random
import shutil
from pathlib import Path

import pytest

from flows.manifest import verify_release
from flows.replies import ReplyStore
from generators.chat import ChatReply
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.shards import content, open_tiny, write_run
from tests.flows.test_dialogues import DIALOGUES, READ
from validators.errors import StorageError

pytestmark = pytest.mark.fault

SEVENTHS = range(7)


def cut(path: Path, seventh: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * seventh // 7])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("seventh", SEVENTHS)
@pytest.mark.parametrize("name", ["part-00000.parquet", "rejected-00000.parquet", "part-00000.done.json"])
def test_a_cut_shard_is_made_again(root: Path, name: str, seventh: int, caplog: pytest.LogCaptureFixture) -> None:
    whole = content(root)
    cut(root / "work" / "evidence" / name, seventh)
    with open_tiny(root) as run, caplog.at_level(logging.WARNING):
        assert run.done("evidence", 0) is None
        assert name in caplog.text
        with pytest.raises(StorageError, match="missing or damaged"):
            run.read_shard("evidence", 0)
    assert write_run(root) == [0]
    assert content(root) == whole


@pytest.mark.parametrize("name", ["part-00000.parquet", "rejected-00000.parquet", "part-00000.done.json"])
def test_a_deleted_shard_is_made_again(root: Path, name: str) -> None:
    whole = content(root)
    (root / "work" / "evidence" / name).unlink()
    assert write_run(root) == [0]
    assert content(root) == whole


@pytest.mark.parametrize("seventh", SEVENTHS)
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_cut_run_json_is_an_error_and_nothing_is_touched(root: Path, seventh: int, rebuild: bool) -> None:
    cut(root / "run.json", seventh)
    before = content(root)
    with pytest.raises(StorageError, match=r"run\.json is damaged") as caught:
        open_tiny(root, rebuild=rebuild)
    assert caught.value.where == str(root / "run.json")
    assert caught.value.next_step
    assert content(root) == before


@pytest.mark.parametrize("text", ["null", "[]", "1", "{}", '{"identity": {"a": "b"}, "fingerprint": "0"}', "[" * 5000])
def test_json_that_is_no_run_json_is_an_error(root: Path, text: str) -> None:
    (root / "run.json").write_text(text)
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        open_tiny(root)


@pytest.mark.parametrize("seventh", SEVENTHS)
def test_a_cut_reply_store_gives_true_replies_or_none(
    tmp_path: Path, seventh: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "replies.sqlite"
    replies = {f"{n:064x}": ChatReply(f"reply {n} " * 50, "stop", n, n) for n in range(200)}
    with ReplyStore(path) as store:
        for key, reply in replies.items():
            store.put(key, reply)
    cut(path, seventh)
    with caplog.at_level(logging.WARNING), ReplyStore(path) as store:
        for key, reply in replies.items():
            assert store.get(key) in {None, reply}
            store.put(key, reply)
    with ReplyStore(path) as store:
        assert len(store) == 200
        assert all(store.get(key) == reply for key, reply in replies.items())
    aside = path.with_name("replies.sqlite.damaged-1")
    assert aside.exists() == (seventh > 0)  # an empty file is a new store
    assert ("damaged" in caplog.text) == (seventh > 0)


@pytest.mark.parametrize("place", [5000, 40_000, 60_000])
def test_damage_that_shows_during_a_run_is_survived(tmp_path: Path, place: int) -> None:
    path = tmp_path / "replies.sqlite"
    replies = {f"{n:064x}": ChatReply(f"reply {n} " * 50, "stop", n, n) for n in range(200)}
    with ReplyStore(path) as store:
        for key, reply in replies.items():
            store.put(key, reply)
    with ReplyStore(path) as store:
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\xff" * 20_000)
        for key, reply in replies.items():
            assert store.get(key) in {None, reply}
            store.put(key, reply)
        assert all(store.get(key) == reply for key, reply in replies.items())


@pytest.mark.parametrize("seventh", SEVENTHS)
def test_a_cut_release_is_named_by_check(root: Path, seventh: int) -> None:
    for path in (root / "manifest.json", root / "README.md", sorted((root / "data" / "evidence").iterdir())[0]):
        whole = path.read_bytes()
        cut(path, seventh)
        problems = verify_release(root)
        assert problems
        assert all(problem.startswith(f"{path.relative_to(root).as_posix()}: ") for problem in problems)
        path.write_bytes(whole)
    assert verify_release(root) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(folder, rows=12, extra=DIALOGUES.replace("18", "4"))
    build_in_turn(recipe, folder / "out", *READ)
    return recipe, folder / "out"


@pytest.mark.parametrize("name", ["work/summary.json", "work/judgement.json", "quality.json", "README.md"])
@pytest.mark.parametrize("seventh", [3])
def test_a_build_that_was_finished_is_made_whole_again(
    finished: tuple[Path, Path], tmp_path: Path, name: str, seventh: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, output = finished
    root = shutil.copytree(output, tmp_path / "out")
    cut(root / name, seventh)
    monkeypatch.setattr("generators.backends.echo.reply_to", None)  # whoever asks fails
    before = verify_release(root)
    assert bool(before) == (not name.startswith("work/"))  # what is no part of the release is no damage to it
    release = build_in_turn(recipe, root, *READ)
    assert release.planned == release.kept + release.rejected
    assert (root / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()
    assert verify_release(root) == []


@pytest.mark.parametrize("seventh", [0, 3, 6])
def test_every_kind_of_file_of_a_build_at_once(finished: tuple[Path, Path], tmp_path: Path, seventh: int) -> None:
    recipe, output = finished
    root = shutil.copytree(output, tmp_path / "out")
    chance = random.Random(seventh)
    for folder in sorted(root.glob("work/*/")):
        cut(chance.choice(sorted(path for path in folder.iterdir() if path.is_file())), seventh)
    cut(root / "work" / "replies.sqlite", seventh)
    cut(chance.choice(sorted(root.glob("data/*/*.parquet"))), seventh)
    assert verify_release(root)
    build_in_turn(recipe, root, *READ)
    assert (root / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()
    assert verify_release(root) == []
