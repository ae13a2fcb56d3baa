# SPDX-License-Identifier: Apache-2.0
"""Recipes whose writers the run serves: what they may say, what of it decides rows, and builds on a stand-in."""

import json
import signal
import time
from pathlib import Path

import pytest

from flows import models
from flows.card import _without_machine
from flows.identity import identity
from flows.recipe import Recipe, load_recipe
from tests.doubles.vllm_stand_in import Start, is_running, stand_in, starts
from tests.flows.builds import build_in_turn, command, rows, write_recipe
from validators.errors import InputError, ModelError

WRITER = "writer={{backend: vllm, weights: {{path: {weights}}}, licence: Apache-2.0, slots: 6, serve: {serve}}}"
LOOP = "loop={rank: 28, score: 0.0}"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    return folder


def load(folder: Path, *settings: str) -> Recipe:
    return load_recipe(write_recipe(folder, rows=16), settings)


def identify(recipe: Recipe) -> dict[str, str]:
    return identity(recipe, taxonomy_sha256="t", stories_sha256="s", prompts_sha256="p", versions={})


def test_true_takes_the_defaults_and_false_serves_nothing(tmp_path: Path, weights: Path) -> None:
    served = load(tmp_path, WRITER.format(weights=weights, serve="true")).writer.serve
    assert served is not None
    assert (served.tensor_parallel_size, served.prefix_caching, served.python) == (1, True, None)
    assert load(tmp_path, WRITER.format(weights=weights, serve="false")).writer.serve is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("writer.serve=true",), "serve: only belongs to the vllm backend"),
        (("{vllm}", "writer.serve={gpu: 1}"), "serve.gpu: unknown key. Did you mean 'gpus'?"),
        (("{vllm}", "writer.serve={memory: 1.2}"), "writer.serve.memory: should be less than or equal to 1"),
        (("{vllm}", "writer.serve=yes please"), "writer.serve: "),
        (("{vllm}", "writer.options={trust_remote_code: true}"), "options.trust_remote_code: is refused"),
        (("{vllm}", "writer.options={dtyp: float16}"), "Did you mean 'dtype'?"),
        (("{vllm}", "writer.options={tensor_parallel_size: 2}"), "is set by serve.tensor_parallel_size"),
    ],
)
def test_what_cannot_be_served_is_told_with_its_key(
    tmp_path: Path, weights: Path, settings: tuple[str, ...], message: str
) -> None:
    vllm = WRITER.format(weights=weights, serve="true")
    with pytest.raises(InputError) as error:
        load(tmp_path, *(one if one != "{vllm}" else vllm for one in settings))
    assert message in str(error.value)


def test_how_a_server_runs_is_not_in_the_identity_and_what_changes_rows_is(tmp_path: Path, weights: Path) -> None:
    plain = load(tmp_path, WRITER.format(weights=weights, serve="false"))
    served = load(tmp_path, WRITER.format(weights=weights, serve="{memory: 0.4, gpus: [1], python: /x/python}"))
    assert identify(plain) == identify(served)
    other = load(tmp_path, WRITER.format(weights=weights, serve="true"), "writer.options={quantization: fp8}")
    assert set(identify(other)) - set(identify(plain)) == {"writer.options.quantization"}
    shown = json.dumps(_without_machine(served.canonical()))
    assert "/x/python" not in shown
    assert "Apache-2.0" in shown


def test_the_servers_of_readers_are_not_in_the_identity_either(tmp_path: Path, weights: Path) -> None:
    chat = f"{{backend: vllm, weights: {{path: {weights}}}, licence: x"
    member = "reader={{backend: ensemble, members: [{{backend: descriptions}}, {{backend: chat, chat: {chat}}}]}}"
    plain = load(tmp_path, member.format(chat=chat + "}"))
    served = load(tmp_path, member.format(chat=chat + ", serve: {memory: 0.3}}"))
    assert identify(plain) == identify(served)
    assert "0.3" in json.dumps(served.canonical())


def test_a_writer_of_that_name_stays_in_the_identity(tmp_path: Path) -> None:
    dialogues = "dialogues={rows: 2, writers: {serve: {backend: echo}}, pairs: [[writer, serve]]}"
    assert "dialogues.writers.serve.backend" in identify(load(tmp_path, dialogues))


def test_recipes_without_a_server_say_nothing_of_it(tmp_path: Path) -> None:
    assert '"serve"' not in json.dumps(load(tmp_path).canonical())


def test_a_gguf_file_is_written_out_for_vllm_and_keeps_its_name_in_the_rows(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"GGUF")
    asked: list[Path] = []

    def written_out(path: Path, *, cache: Path) -> Path:
        asked.append(path)
        return weights

    monkeypatch.setattr(models, "dequantised", written_out)
    python = stand_in(tmp_path / "vllm")
    writer = WRITER.format(weights=gguf, serve=f"{{python: {python}}}")
    found = models.Models.of(load(tmp_path, writer))
    assert asked == [gguf]
    assert found.writer.model.startswith("tiny@")


def test_a_missing_vllm_is_told_before_anything_is_made(tmp_path: Path, weights: Path) -> None:
    writer = WRITER.format(weights=weights, serve="{python: none/python}")
    with pytest.raises(InputError, match="no interpreter at this path"):
        build_in_turn(write_recipe(tmp_path, rows=16), tmp_path / "out", writer)
    assert not (tmp_path / "out").exists()


def test_a_build_whose_server_dies_is_the_one_of_a_server_that_lives(tmp_path: Path, weights: Path) -> None:
    recipe = write_recipe(tmp_path, rows=16)
    texts = {}
    for name, script in {"dies": (Start(answers=25), Start()), "lives": (Start(),)}.items():
        python = stand_in(tmp_path / f"vllm-{name}", *script)
        writer = WRITER.format(weights=weights, serve=f"{{python: {python}}}")
        release = build_in_turn(recipe, tmp_path / name, writer, "reader={backend: chat}", LOOP)
        texts[name] = [row["text"] for row in rows(tmp_path / name)]
        assert release.kept == len(texts[name]) > 0
        assert len(starts(tmp_path / f"vllm-{name}")) == len(script)
        assert not any(is_running(one.pid) or is_running(one.engine) for one in starts(tmp_path / f"vllm-{name}"))
        log = (tmp_path / name / "work" / "servers" / "writer.log").read_text()
        assert log.startswith(f"--- {python} -m ")
    assert texts["dies"] == texts["lives"]
    assert {row["writer"].partition("@")[0] for row in rows(tmp_path / "dies")} == {"small"}


def test_dialogues_of_two_served_writers(tmp_path: Path, weights: Path) -> None:
    one, two = stand_in(tmp_path / "one"), stand_in(tmp_path / "two")
    second = f"{{backend: vllm, name: other, weights: {{path: {weights}}}, licence: MIT, serve: {{python: {two}}}}}"
    build_in_turn(
        write_recipe(tmp_path, rows=6),
        tmp_path / "out",
        WRITER.format(weights=weights, serve=f"{{python: {one}}}"),
        f"dialogues={{rows: 2, from_stories: 0, turns: [3], writers: {{second: {second}}}, pairs: [[writer, second]]}}",
        "floors={kept_rows: 1, labels: 1, kept_dialogues: 0}",
    )
    assert [len(starts(tmp_path / name)) for name in ("one", "two")] == [1, 1]
    names = {speaker["writer"].partition("@")[0] for row in rows(tmp_path / "out", "data/dialogues/*.parquet")
             for speaker in row["speakers"]}  # fmt: skip
    assert names == {"small", "other"}
    # on GPUs each has half of what there is
    memory = {starts(tmp_path / name)[0].argument("--gpu-memory-utilization") for name in ("one", "two")}
    assert memory == {"0.45"}


@pytest.mark.fault
@pytest.mark.usefixtures("prefect_server")
def test_a_killed_build_takes_its_server_along_and_resumes(tmp_path: Path, weights: Path) -> None:
    python = stand_in(tmp_path / "vllm")
    recipe = write_recipe(tmp_path, rows=16)
    settings = ("--set", WRITER.format(weights=weights, serve=f"{{python: {python}}}"))
    build_in_turn(recipe, tmp_path / "whole", settings[1])
    output = tmp_path / "out"
    kill = {"AFFECTORY_FAILPOINT": "after_store:30:kill"}
    killed = command("build", recipe, "--output", output, *settings, env=kill)
    assert killed.returncode == -signal.SIGKILL
    end_s = time.monotonic() + 60
    while any(is_running(one.pid) or is_running(one.engine) for one in starts(tmp_path / "vllm")):
        assert time.monotonic() < end_s, "the server outlived the run"
        time.sleep(0.1)
    resumed = command("build", recipe, "--output", output, *settings)
    assert resumed.returncode == 0, resumed.stderr
    assert "vLLM is up" in resumed.stdout
    whole = (tmp_path / "whole" / "manifest.json").read_bytes()
    assert (output / "manifest.json").read_bytes() == whole
    finished = command("build", recipe, "--output", output, *settings)
    assert finished.returncode == 0
    assert len(starts(tmp_path / "vllm")) == 3  # a finished run starts no server


def test_a_server_that_stays_dead_ends_the_run_and_the_next_command_goes_on(tmp_path: Path, weights: Path) -> None:
    recipe = write_recipe(tmp_path, rows=16)
    python = stand_in(tmp_path / "vllm", Start(answers=15), Start(answers=15), Start())
    writer = WRITER.format(weights=weights, serve=f"{{python: {python}}}")
    with pytest.raises(ModelError, match="was killed") as error:
        build_in_turn(recipe, tmp_path / "out", writer)
    assert error.value.exit_code == 3
    assert "run the same command again" in error.value.next_step
    assert build_in_turn(recipe, tmp_path / "out", writer).kept > 0
    assert len(starts(tmp_path / "vllm")) == 3
