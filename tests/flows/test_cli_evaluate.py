# SPDX-License-Identifier: Apache-2.0
"""The command `affectory evaluate` on files, with the hashed encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows import cli_evaluate
from tests.flows.test_evaluate import lines, write_release
from validators.errors import InputError


def command(folder: Path, *arguments: str) -> Any:
    """Run the command on a release, with real data in files beside it."""
    for name, rows in {"test.csv": lines(60, seed=2), "train.csv": lines(90, seed=4)}.items():
        body = "".join(f"{text},{label}\n" for text, label in rows)
        (folder / name).write_text(f"text,label\n{body}", encoding="utf-8")
    app = typer.Typer()
    cli_evaluate.register(app)
    options = ["--on", str(folder / "test.csv"), "--taxonomy", "goemotions", "--encoder", "hashed"]
    return CliRunner().invoke(app, [str(folder), *options, *arguments])


def test_the_command_prints_json_and_writes_it(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "good", lines(60, seed=1))
    output = folder / "evaluation.json"
    real = str(folder / "train.csv")
    done = command(folder, "--real-train", real, "--json", "--output", str(output), "--seed", "3")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed == json.loads(output.read_text())
    assert printed["seed"] == 3
    told = {(one["trained_on"], one["student"]) for one in printed["results"]}
    assert {("release", "linear"), ("real, as many", "linear"), ("nothing", "zero-shot")} <= told
    assert [len(one["without_positives"]) for one in printed["results"] if one["student"] == "linear"] == [25, 25, 25]
    shown = command(folder)
    assert "macro AUC" in shown.stdout
    assert "Left out: students on real rows" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--students", "linaer"], "student 'linaer' is unknown"),
        (["--students", ","], "no student is named"),
        (["--students", "finetuned"], "hashed encoder cannot be fine-tuned"),
        (["--output", "data/utterances/x.json"], "among the files of a release"),
        (["--output", "manifest.json"], "among the files of a release"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = command(write_release(tmp_path / "good", lines(60, seed=1)), *arguments)
    assert isinstance(done.exception, InputError)
    assert message in done.exception.what
