# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from flows.manifest import read_manifest, verify_release, write_manifest, write_release_tables
from flows.parquet import split_by_bytes
from flows.sealed import seal
from tests.flows.shards import CARD, evidence, open_tiny, utterance, write_release
from validators.errors import StorageError
from validators.records import Evidence, Perceived
from validators.schemas import EVIDENCE, UTTERANCES, to_records, to_table


@pytest.fixture
def release(tmp_path: Path) -> Path:
    with open_tiny(tmp_path / "run") as run:
        write_release(run)
    return tmp_path / "run"


def test_the_release_is_whole_and_loads(release: Path, tmp_path: Path) -> None:
    assert verify_release(release) == []
    names = sorted(path.name for path in (release / "data" / "evidence").iterdir())
    assert names[0] == f"train-00000-of-{len(names):05d}.parquet"
    assert len(names) > 1
    loaded = datasets.load_dataset(str(release), "evidence", cache_dir=str(tmp_path / "cache"))
    assert [row["cause"] for row in loaded["train"]] == [row.cause for row in evidence(20)]


def test_a_shard_of_nulls_beside_a_full_one_loads(tmp_path: Path) -> None:
    full = utterance(perceived=(Perceived(label="joy", score=0.5),), context="c", realised=True)
    rows = to_table([utterance()] * 8 + [full] * 8, UTTERANCES)
    with open_tiny(tmp_path / "run") as run:
        files = write_release_tables(run, {"utterances": {"train": rows}}, shard_bytes=rows.nbytes // 2)
        run.card.write_text(CARD.replace("evidence", "utterances"))
        run.quality.write_text("{}")
        (run.root / "croissant.json").write_text("{}")
        write_manifest(run, files)
    assert len(files) > 1
    assert verify_release(tmp_path / "run") == []
    loaded = datasets.load_dataset(str(tmp_path / "run"), "utterances", cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded[0]["perceived"] is None
    assert loaded[15]["perceived"] == [{"label": "joy", "score": 0.5}]


def test_the_manifest_is_the_same_for_the_same_rows(release: Path) -> None:
    before = (release / "manifest.json").read_bytes()
    with open_tiny(release) as run:
        write_release(run)
    assert (release / "manifest.json").read_bytes() == before
    manifest = read_manifest(release)
    assert [file.rows for file in manifest.files if file.rows is None] == [None, None, None]
    assert sum(file.rows or 0 for file in manifest.files) == 20


def test_an_older_release_is_replaced_and_the_manifest_goes_first(release: Path) -> None:
    stray = release / "data" / "evidence" / "notes.txt"
    stray.write_text("mine")
    with open_tiny(release) as run:
        files = write_release_tables(run, {"evidence": {"test": to_table(evidence(3), EVIDENCE)}})
        assert not run.manifest.exists()
        assert [file.path for file in files] == ["data/evidence/test-00000-of-00001.parquet"]
        assert {path.name for path in stray.parent.iterdir()} == {"test-00000-of-00001.parquet", "notes.txt"}
        write_manifest(run, files)
    assert verify_release(release) == ["data/evidence/notes.txt: not in the manifest"]


def test_rows_keep_their_order_over_files_and_row_groups(tmp_path: Path) -> None:
    table = to_table(evidence(101), EVIDENCE)
    with open_tiny(tmp_path / "run") as run:
        files = write_release_tables(run, {"evidence": {"train": table}}, shard_bytes=1000)
        read = [row for file in files for row in to_records(pq.read_table(run.root / file.path), Evidence)]
    assert read == evidence(101)


def test_parts_are_bounded_in_bytes() -> None:
    rows = evidence(64, lambda i: "x" * (10_000 if i == 7 else 10))
    parts = list(split_by_bytes(to_table(rows, EVIDENCE), 4000))
    assert all(part.nbytes <= 4000 or part.num_rows == 1 for part in parts)
    assert sum(part.num_rows for part in parts) == 64


def test_each_damage_is_named(release: Path) -> None:
    first, second = sorted((release / "data" / "evidence").iterdir())[:2]
    whole = first.read_bytes()
    name = first.relative_to(release).as_posix()

    first.unlink()
    assert verify_release(release) == [f"{name}: missing"]
    first.symlink_to(second)
    assert "symbolic link" in verify_release(release)[0]
    first.unlink()
    first.write_bytes(second.read_bytes())
    assert any("the manifest says" in problem for problem in verify_release(release))
    first.write_bytes(whole)
    (release / "README.md").write_text("other")
    assert [problem.split(":")[0] for problem in verify_release(release)] == ["README.md", "README.md"]
    (release / "README.md").write_text(CARD)
    assert verify_release(release) == []
    (release / "manifest.json").unlink()
    assert verify_release(release) == ["manifest.json: missing; the release is not finished"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "data/../README.md", "data/a/b/c.parquet", "run.json"])
def test_a_manifest_from_elsewhere_does_not_lead_out(release: Path, path: str) -> None:
    content = json.loads((release / "manifest.json").read_text())
    del content["sealed_sha256"]
    content["files"][0]["path"] = path
    (release / "manifest.json").write_bytes(seal(content))
    assert "which is no file of a release" in verify_release(release)[0]


def test_row_count_is_checked(release: Path) -> None:
    content = json.loads((release / "manifest.json").read_text())
    del content["sealed_sha256"]
    listed = next(file for file in content["files"] if file["rows"])
    listed["rows"] += 1
    (release / "manifest.json").write_bytes(seal(content))
    assert [problem.split(" rows, ")[1] for problem in verify_release(release)] == [
        f"the manifest says {listed['rows']}"
    ]


def test_no_manifest_without_card_and_figures(tmp_path: Path) -> None:
    with open_tiny(tmp_path / "run") as run:
        with pytest.raises(StorageError, match=r"README\.md is missing"):
            write_manifest(run, [])
        run.card.write_text("# Tiny", encoding="utf-8")
        with pytest.raises(StorageError, match=r"quality\.json is missing"):
            write_manifest(run, [])
        run.quality.write_text("{}", encoding="utf-8")
        with pytest.raises(StorageError, match=r"croissant\.json is missing"):
            write_manifest(run, [])


@pytest.mark.parametrize("name", ["../x", "A", "", "a-b"])
def test_names_of_configs_and_splits_are_checked(tmp_path: Path, name: str) -> None:
    table = to_table(evidence(1), EVIDENCE)
    with open_tiny(tmp_path / "run") as run:
        for tables in ({name: {"train": table}}, {"evidence": {name: table}}):
            with pytest.raises(ValueError, match="cannot name"):
                write_release_tables(run, tables)
