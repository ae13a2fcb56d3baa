# SPDX-License-Identifier: Apache-2.0
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.done_records import AccountingError
from flows.replies import ReplyStore
from flows.run_folder import RunFolder
from flows.run_opening import open_run
from generators.chat import ChatReply
from tests.flows.shards import content, evidence, open_tiny, rejected, write_release, write_run, write_tiny_shard
from validators.errors import InputError, RecipeMismatchError, StorageError
from validators.records import Evidence
from validators.schemas import EVIDENCE, REJECTED, to_records, to_table


def test_a_shard_comes_back_as_written(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run") as run:
        write_tiny_shard(run, 12)
        record = run.done("evidence", 12)
        assert record is not None
        assert (record.planned, record.kept, record.rejected) == (7, 5, 2)
        assert record.reasons == {"too_long": 1, "too_short": 1}
        assert record.counts == {"asked": 5}
        kept, gone = run.read_shard("evidence", 12)
        assert to_records(kept, Evidence) == evidence(5)
        assert kept.schema.equals(EVIDENCE, check_metadata=True)
        assert gone.equals(to_table(rejected(2), REJECTED))
        assert run.kept_path("evidence", 12).name == "part-00012.parquet"
        assert run.done("evidence", 3) is None
        write_tiny_shard(run, 3)
        assert [r.index for r in run.stage_records("evidence")] == [3, 12]
        assert run.stage_records("stories") == []


def test_empty_tables_are_shards_too(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run") as run:
        write_tiny_shard(run, 0, n_kept=0, n_rejected=0)
        kept, _ = run.read_shard("evidence", 0)
        assert kept.schema.equals(EVIDENCE, check_metadata=True)
        assert run.done("evidence", 0) is not None


def test_rows_that_are_unaccounted_for_are_never_written(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run") as run:
        with pytest.raises(AccountingError, match="8 rows were planned, but 5 kept and 2 rejected") as caught:
            run.write_shard(
                "evidence", 4, planned=8, kept=to_table(evidence(5), EVIDENCE), rejected=to_table(rejected(2), REJECTED)
            )
        assert caught.value.where == "stage evidence, shard 4"
        assert run.stage_records("evidence") == []


def test_same_rows_give_the_same_bytes_however_the_table_was_made(tmp_path: Path) -> None:
    n_rows = 5000  # few rows give the same bytes either way
    whole = to_table(evidence(n_rows, lambda i: f"{i} " * 400), EVIDENCE)
    pieces = pa.concat_tables([whole.slice(i, 7) for i in range(0, n_rows, 7)])
    none = to_table([], REJECTED)
    with open_tiny(tmp_path / "run") as run:
        records = [
            run.write_shard("evidence", n, planned=n_rows, kept=kept, rejected=none)
            for n, kept in enumerate([whole, pieces, whole])
        ]
    assert len({record.kept_file for record in records}) == 1


def test_a_file_that_lost_rows_on_the_way_to_disk_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_less(self: pq.ParquetWriter, table: pa.Table, row_group_size: int) -> None:
        self.writer.write_table(table.slice(1), row_group_size=row_group_size)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_less)
    with open_tiny(tmp_path / "run") as run:
        before = content(run.root)
        with pytest.raises(StorageError, match="4 rows instead of 5"):
            write_tiny_shard(run, 0)
        assert content(run.root) == before


@pytest.mark.parametrize("stage", ["", "../x", "a/b", "A", "1st", "a b", "a\x00", "x" * 42, "é"])
def test_a_stage_name_is_never_a_way_out(tmp_path: Path, stage: str) -> None:
    with open_tiny(tmp_path / "run") as run, pytest.raises(ValueError, match="cannot name a stage"):
        run.kept_path(stage, 0)


@pytest.mark.parametrize("index", [-1, 100_000])
def test_an_index_fits_its_file_name(tmp_path: Path, index: int) -> None:
    with open_tiny(tmp_path / "run") as run, pytest.raises(ValueError, match="outside"):
        run.done("evidence", index)


def test_the_same_recipe_continues(tmp_path: Path) -> None:
    assert write_run(tmp_path / "run") == [0, 1]
    before = content(tmp_path / "run")
    assert write_run(tmp_path / "run") == []
    assert content(tmp_path / "run") == before


def test_another_recipe_is_refused_key_by_key(tmp_path: Path) -> None:
    open_run(tmp_path / "run", identity={"seed": "1", "rows": "9"}, recipe={}).close()
    with pytest.raises(RecipeMismatchError) as caught:
        open_run(tmp_path / "run", identity={"seed": "2", "model": "m"}, recipe={})
    for line in ("seed: 1 -> 2", "rows: 9 -> (absent)", "model: (absent) -> m"):
        assert line in str(caught.value)
    assert "--output" in caught.value.next_step
    assert "--rebuild" in caught.value.next_step
    open_run(tmp_path / "run", identity={"rows": "9", "seed": "1"}, recipe={}).close()  # and the lock is free


def test_run_json_says_what_made_it(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run") as run:
        said = json.loads((run.root / "run.json").read_text())
        assert said["fingerprint"] == run.fingerprint
        assert said["recipe"] == {"rows": 14}
        assert said["versions"].keys() == {"affectory", "pyarrow", "python"}


def test_rebuild_keeps_the_replies_and_what_is_not_ours(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with open_tiny(root) as run:
        write_tiny_shard(run, 0)
        write_release(run)
        with ReplyStore(run.replies) as store:
            store.put("key", ChatReply("paid for", "stop", 1, 1))
    mine = [root / "data" / "evidence" / "notes.txt", root / "work" / "evidence" / "mine.csv", root / "plot.png"]
    for path in mine:
        path.write_text("mine")
    with open_run(root, identity={"seed": "8"}, recipe={}, rebuild=True) as run:
        assert run.stage_records("evidence") == []
        with ReplyStore(run.replies) as store:
            assert len(store) == 1
    left = set(content(root))
    assert left == {path.relative_to(root).as_posix() for path in mine} | {"run.json", "work/replies.sqlite"}


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for rebuild in (False, True):
        with pytest.raises(InputError, match=r"no run\.json but holds thesis\.txt"):
            open_tiny(tmp_path, rebuild=rebuild)
    assert content(tmp_path) == {"thesis.txt": b"mine"}


def test_shards_without_run_json_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(InputError, match="it is not a run's"):
        open_tiny(tmp_path / "run")


def test_replies_may_be_carried_over(tmp_path: Path) -> None:
    (tmp_path / "run" / "work").mkdir(parents=True)
    with ReplyStore(tmp_path / "run" / "work" / "replies.sqlite") as store:
        store.put("key", ChatReply("paid for", "stop", 1, 1))
    with open_tiny(tmp_path / "run") as run, ReplyStore(run.replies) as store:
        assert len(store) == 1


def test_shards_of_another_fingerprint_are_not_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_run(tmp_path / "a")
    with open_run(tmp_path / "b", identity={"seed": "8"}, recipe={}) as run:
        run.kept_path("evidence", 0).parent.mkdir()
        for path in (tmp_path / "a" / "work" / "evidence").iterdir():
            (run.work / "evidence" / path.name).write_bytes(path.read_bytes())
        with caplog.at_level(logging.WARNING):
            assert run.done("evidence", 0) is None
        assert "part-00000.done.json belongs to another run" in caplog.text


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    folder = tmp_path / "run" / "work" / "evidence"
    ours, foreign = folder / ".part-00000.parquet.1.0123abcd.tmp", folder / "notes.tmp"
    ours.touch()
    foreign.touch()
    open_tiny(tmp_path / "run").close()
    assert not ours.exists()
    assert foreign.exists()


@pytest.mark.parametrize("inside", ["", "work", "data", "work/evidence", "run.lock", "run.json"])
def test_links_in_the_folder_are_refused(tmp_path: Path, inside: str) -> None:
    root, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    write_run(root)
    (root / inside).rename(elsewhere)
    (root / inside).symlink_to(elsewhere)
    with pytest.raises(StorageError, match="symbolic link"):
        write_run(root)


def test_nowhere_to_write_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        open_tiny(tmp_path / "no" / "run")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="not a folder"):
        open_tiny(tmp_path / "file")
    with pytest.raises(StorageError):
        open_tiny(Path("/proc/affectory"))  # a file system that takes no files, not even from root


def test_a_failing_run_lets_go_of_the_lock(tmp_path: Path) -> None:
    def die(run: RunFolder) -> None:
        with run:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die(open_tiny(tmp_path / "run"))
    open_tiny(tmp_path / "run").close()
