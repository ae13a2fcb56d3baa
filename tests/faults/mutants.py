# SPDX-License-Identifier: Apache-2.0
"""Faults put into the code on purpose, each of which some test must notice: `python -m tests.faults.mutants [NAME...]`.

Each mutant is made in a copy of the tree by exact replacement of a text, and the tests named for it are run there. They
must fail, else it has survived: what it broke is not tested. `test_mutants.py` holds the list to the source.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("flows", "generators", "validators", "tests", "recipes", "pyproject.toml", "README.md")
WITHIN_S: Final = 900  # of a mutant's tests, on a busy machine


@dataclass(frozen=True)
class Mutant:
    """A fault: the file, the text that is replaced, by what, and the tests that must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS: Final = (
    Mutant(
        "no fsync before the rename",
        "flows/atomic.py",
        "            os.fsync(file.fileno())\n",
        "",
        ("tests/flows/test_atomic.py::test_bytes_are_on_disk_before_the_name_changes",),
    ),
    Mutant(
        "unfinished files under a name that nobody clears away",
        "flows/atomic.py",
        '.{secrets.token_hex(4)}.tmp")',
        '.{secrets.token_hex(4)}.part")',
        ("tests/faults/test_f01_kill_while_writing.py",),
    ),
    Mutant(
        "a done-record is believed without its files",
        "flows/run_folder.py",
        "            if problem:\n",
        "            if not problem:\n                continue\n            if problem == '':\n",
        ("tests/faults/test_f08_damaged_files.py", "tests/faults/test_f10_bit_flip.py"),
    ),
    Mutant(
        "the done-record before the rejected rows",
        "flows/run_folder.py",
        '        failpoint("before_done")\n        sealed = seal(record.model_dump())\n',
        "        sealed = seal(record.model_dump())\n"
        "        write_bytes(self.done_path(stage, index), sealed)\n"
        "        self.rejected_path(stage, index).unlink()\n"
        '        failpoint("before_done")\n'
        "        write_parquet(self.rejected_path(stage, index), rejected)\n",
        ("tests/faults/test_f01_kill_while_writing.py",),
    ),
    Mutant(
        "the manifest stays while the tables change",
        "flows/manifest.py",
        "    with storage_errors(folder.manifest):\n"
        "        folder.manifest.unlink(missing_ok=True)\n    refuse_symlink",
        "    refuse_symlink",
        ("tests/flows/test_manifest.py::test_an_older_release_is_replaced_and_the_manifest_goes_first",),
    ),
    Mutant(
        "rows that are neither kept nor rejected are written",
        "flows/run_folder.py",
        "        if planned != n_kept + n_rejected:\n",
        "        if planned < 0:\n",
        ("tests/flows/test_run_folder.py::test_rows_that_are_unaccounted_for_are_never_written",),
    ),
    Mutant(
        "a file that lost rows takes its place",
        "flows/parquet.py",
        "        if n_rows != table.num_rows:\n",
        "        if n_rows > table.num_rows:\n",
        ("tests/flows/test_run_folder.py::test_a_file_that_lost_rows_on_the_way_to_disk_takes_no_place",),
    ),
    Mutant(
        "pages are read without their checksums",
        "flows/parquet.py",
        "page_checksum_verification=True) as file:\n        return file.read(",
        "page_checksum_verification=False) as file:\n        return file.read(",
        ("tests/faults/test_f10_bit_flip.py::test_page_checksums_notice_a_flip_in_the_rows",),
    ),
    Mutant(
        "a full disk under the replies is swallowed",
        "flows/replies.py",
        "        except StorageError as error:  # told to all who wait\n"
        "            _fail(self._take_waiting(key), error)\n            return\n",
        "        except StorageError:\n            pass\n",
        ("tests/flows/test_replies.py::test_a_full_disk_reaches_the_caller",),
    ),
    Mutant(
        "a reply is handed out and stored a little later",
        "flows/replies.py",
        "            self._store.put(key, reply)\n",
        "            threading.Timer(0.2, self._store.put, (key, reply)).start()\n",
        ("tests/flows/test_replies.py::test_it_is_stored_before_it_is_handed_out",),
    ),
    Mutant(
        "a flipped reply is believed",
        "flows/reply_store.py",
        "    if _checksum(key, tuple(values)) != checksum:\n",
        "    if checksum is None:\n",
        ("tests/flows/test_replies.py::test_a_flipped_reply_is_asked_again",),
    ),
    Mutant(
        "rows without an answer are forgotten",
        "flows/runs.py",
        "        if unanswered:\n            raise DeferredError(",
        "        if len(unanswered) < 0:\n            raise DeferredError(",
        ("tests/faults/test_f18_storm.py::test_a_server_that_goes_down_leaves_shards_open_and_is_taken_up_again",),
    ),
    Mutant(
        "no lock is taken",
        "flows/run_lock.py",
        "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        ("tests/faults/test_f05_two_runs.py::test_one_process_cannot_open_a_folder_twice",),
    ),
    Mutant(
        "the seed is no part of the identity",
        "flows/identity.py",
        'EXCLUDED = {\n    "name"',
        'EXCLUDED = {\n    "seed": "mutant",\n    "name"',
        ("tests/faults/test_f06_changed_recipe.py::test_what_would_change_a_row_is_refused",),
    ),
    Mutant(
        "a gate that fails accepts",
        "validators/judging.py",
        "            raise _broken(gate, error, where) from error\n",
        "            verdict = ACCEPTED if error and where else ACCEPTED\n",
        ("tests/faults/test_f26_gate_raises.py::test_the_run_stops_with_gate_and_row_and_without_its_text",),
    ),
    Mutant(
        "rubbish for everything goes on",
        "flows/runs.py",
        "        if planned >= REASON_ROWS and count > most * planned:\n",
        "        if planned >= REASON_ROWS and count > planned:\n",
        ("tests/faults/test_f22_rubbish_for_everything.py::test_rubbish_for_lines_alone_stops_after_the_first_shards",),
    ),
    Mutant(
        "a commit that asks for no parent",
        "flows/publishing.py",
        "                parent_commit=remote.head,\n",
        "                parent_commit=None,\n",
        ("tests/faults/test_f29_hub.py::test_whoever_commits_meanwhile_is_never_overwritten",),
    ),
    Mutant(
        "a broken neutral take goes on to be measured",
        "generators/speech/takes.py",
        "        return samples if verdict.accepted else verdict\n",
        "        return samples\n",
        ("tests/faults/test_f23_voice_breaks.py::test_broken_from_the_first_word_it_costs_the_clip_too",),
    ),
)


def source(mutant: Mutant) -> str:
    """The file of a mutant as it is."""
    return (ROOT / mutant.file).read_text(encoding="utf-8")


def run(mutant: Mutant) -> tuple[bool, str]:
    """Make a mutant in a copy of the tree; whether its tests notice it, and the last words of pytest."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        changed = source(mutant).replace(mutant.old, mutant.new)
        (copy / mutant.file).write_text(changed, encoding="utf-8")
        compile(changed, mutant.file, "exec")  # one that is no Python would be killed by anything
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    if ran.returncode not in {0, 1}:
        raise RuntimeError(f"the tests of the mutant '{mutant.name}' did not run:\n{ran.stdout[-2000:]}{ran.stderr}")
    return ran.returncode == 1, ran.stdout.strip().splitlines()[-1]


def main(names: list[str]) -> int:
    """Run the mutants, or those whose names hold one of the words, and tell which survived."""
    chosen = [one for one in MUTANTS if not names or any(name in one.name for name in names)]
    survived = 0
    for mutant in chosen:
        began = time.monotonic()
        killed, words = run(mutant)
        survived += not killed
        outcome = "killed" if killed else "SURVIVED"
        sys.stdout.write(f"{outcome:9} {mutant.name} ({time.monotonic() - began:.0f} s; {words})\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - survived} of {len(chosen)} killed\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
