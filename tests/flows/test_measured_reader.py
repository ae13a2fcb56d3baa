# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.measured_reader import load_blend, measure_reader, save_measured
from flows.recipe import load_recipe
from flows.runs import read_inputs
from generators.backends.hashed import open_encoder
from generators.encoder import EncoderSettings
from generators.readers.descriptions import DescriptionsReader
from generators.readers.echo import EchoReader
from tests.flows.builds import build_in_turn, write_recipe
from tests.readers import LABELS, made_up, taxonomy
from tests.test_docs import write_goemotions
from validators.errors import InputError
from validators.labelled import LabelledTexts
from validators.roles import Reader
from validators.taxonomy import builtin_taxonomy

GOEMOTIONS = builtin_taxonomy("goemotions")
MEMBERS = "members: [{backend: descriptions}, {backend: echo}]"


class Told(EchoReader):
    """A reader that knows the answers, and says them with little conviction."""

    model = "told"

    def __init__(self, data):
        super().__init__(data.labels)
        self._answers = dict(zip(data.texts, data.targets, strict=True))

    def read(self, passages):
        return np.array([0.1 + 0.1 * self._answers[passage.text] for passage in passages])


def test_fitted_weights_follow_the_reader_that_agrees_with_people(tmp_path):
    lessons, test = made_up(160, seed=1), made_up(120, seed=2)
    readers: list[Reader] = [EchoReader(LABELS), Told(_joined(lessons, test))]
    measured = measure_reader(readers, test, fit=lessons, rows=500)
    assert measured.blend is not None
    echo, told = measured.blend.weights
    assert told > 5 * echo
    figures = measured.figures
    assert list(figures) == [readers[0].model, "told", "even weights", "fitted weights"]
    fitted, even = figures["fitted weights"].macro_f1, figures["even weights"].macro_f1
    assert fitted is not None
    assert even is not None
    assert fitted.estimate > even.estimate
    save_measured(tmp_path / "both", "both", readers, measured, taxonomy=taxonomy(), evaluation=test, fit=lessons)
    back = load_blend(tmp_path / "both", taxonomy(), [reader.model for reader in readers])
    assert back.sha256 == measured.blend.sha256
    card = (tmp_path / "both" / "README.md").read_text()
    for word in (*LABELS, "told", "fitted weights", "made-up-1", "which were not measured on"):
        assert word in card
    assert str(tmp_path) not in card


def _joined(one, other):
    return LabelledTexts(
        "both", "CC0-1.0", one.sha256, one.texts + other.texts, one.labels, np.vstack([one.targets, other.targets])
    )


def test_one_reader_alone_is_measured_and_has_nothing_to_fit():
    reader = EchoReader(LABELS)
    measured = measure_reader([reader], made_up(120, seed=2), rows=60)
    assert list(measured.figures) == [reader.model]
    assert measured.figures[reader.model].rows == 60
    assert measured.blend is None
    with pytest.raises(InputError, match="nothing to fit"):
        measure_reader([reader], made_up(120, seed=2), fit=made_up(60, seed=1), rows=60)


def test_weights_of_other_members_are_refused(tmp_path):
    encoder = open_encoder(EncoderSettings("hashed"))
    readers: list[Reader] = [EchoReader(LABELS), DescriptionsReader(encoder, taxonomy())]
    test = made_up(120, seed=2)
    measured = measure_reader(readers, test, fit=made_up(60, seed=1), rows=60)
    save_measured(tmp_path / "a", "a", readers, measured, taxonomy=taxonomy(), evaluation=test, fit=test)
    with pytest.raises(InputError, match="the weights belong to echo and descriptions"):
        load_blend(tmp_path / "a", taxonomy(), [reader.model for reader in reversed(readers)])
    alone = measure_reader(readers[:1], test, rows=60)
    save_measured(tmp_path / "b", "b", readers[:1], alone, taxonomy=taxonomy(), evaluation=test, fit=None)
    with pytest.raises(InputError, match="holds figures, and no weights"):
        load_blend(tmp_path / "b", taxonomy(), [readers[0].model])


def test_the_command_fits_weights_that_a_recipe_can_name(tmp_path):
    write_goemotions(tmp_path / "data", GOEMOTIONS, {"train": 12, "dev": 4})
    recipe = write_recipe(tmp_path)
    train, dev = (str(tmp_path / "data" / f"{name}.tsv") for name in ("train", "dev"))
    arguments = [
        "measure-reader", str(recipe), dev, "--fit", train,
        "--rows", "112", "--set", f"reader={{backend: ensemble, {MEMBERS}}}", "--output", str(tmp_path / "both"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "fitted weights" in result.output
    record = json.loads((tmp_path / "both" / "reader.json").read_text())
    assert record["fitted_on"]["name"] == "data-train"
    reader = f"reader={{backend: ensemble, {MEMBERS}, path: {tmp_path / 'both'}}}"
    fitted, even = (
        read_inputs(load_recipe(recipe, [one])).identity["versions.reader"]
        for one in (reader, f"reader={{backend: ensemble, {MEMBERS}}}")
    )
    assert fitted.startswith(even.rstrip('"'))
    assert fitted != even
    release = build_in_turn(
        recipe, tmp_path / "out", reader, "utterances.rows=8", "loop={rank: 28, score: 0.0}", "utterances.tries=2"
    )
    assert release.kept > 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code != 0
    assert isinstance(again.exception, InputError)


def test_a_recipe_without_a_reader_has_none_to_measure(tmp_path):
    write_goemotions(tmp_path / "data", GOEMOTIONS, {"dev": 4})
    recipe = write_recipe(tmp_path)
    result = CliRunner().invoke(
        app, ["measure-reader", str(recipe), str(tmp_path / "data" / "dev.tsv"), "--set", "reader={backend: none}"]
    )
    assert isinstance(result.exception, InputError)
    assert "no reader" in str(result.exception)
