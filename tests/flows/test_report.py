# SPDX-License-Identifier: Apache-2.0
"""The report shows what was measured, as one page that runs nothing and fetches nothing."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from flows.report import compare_releases, write_report
from flows.run_identity import DATA_DOCS
from tests.flows.builds import build_in_turn, command, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from tests.flows.test_speech import SPEECH
from validators.errors import InputError

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=12, extra=DIALOGUES.replace("18", "4") + SPEECH)


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "out"
    build_in_turn(recipe, root, *READ, f"stories.source={HOSTILE}")
    return root


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_what_was_measured(built):
    page = Page(write_report(built).read_text())
    quality = json.loads((built / "quality.json").read_bytes())
    assert f"{quality['rows']['kept']} kept" in page.text
    for title in ("Labels", "Intended and heard", "Utterances", "Dialogues", "Clips", "Checks of the release"):
        assert title in page.text
    assert page.tags.count("svg") >= 5
    assert any(name == "src" and value.startswith("data:audio/flac;base64,") for name, value in page.attributes)
    assert page.text.count("holds") > 10
    assert page.text.count("0 rows break it") > 10
    assert "None" not in page.text


def test_the_page_runs_nothing_and_fetches_nothing(built):
    page = Page(write_report(built).read_text())
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    fetched = [value for name, value in page.attributes if name in {"src", "href", "xlink:href"}]
    assert all(value.startswith(("data:", "#")) or value == DATA_DOCS for value in fetched)
    assert any(name == "content" and "default-src 'none'" in value for name, value in page.attributes)


def test_text_of_models_and_stories_is_escaped(recipe, tmp_path):
    root = tmp_path / "out"
    stories = tmp_path / "stories"
    stories.mkdir()
    line = (
        "Ida walked to the mill and saw that the wheel stood still, and she was afraid of what she would find there. "
    )
    (stories / "one.md").write_text(f"---\ntitle: '{HOSTILE}'\n---\n" + line * 30)
    build_in_turn(
        recipe, root, *READ, f"stories.path={stories}", "stories.licence=CC0-1.0", "dialogues=null", "speech=null"
    )
    text = write_report(root).read_text()
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert "script" not in Page(text).tags


def test_the_same_release_gives_the_same_page(built):
    assert write_report(built).read_bytes() == write_report(built).read_bytes()


def test_two_releases_stand_beside_each_other(built, recipe, tmp_path):
    other = shutil.copytree(built, tmp_path / "next")
    build_in_turn(recipe, other, *READ, f"stories.source={HOSTILE}", "utterances.rows=18")
    page = Page(compare_releases(built, other).read_text())
    before, after = (json.loads((root / "quality.json").read_bytes())["rows"]["kept"] for root in (built, other))
    assert after > before
    assert re.search(rf"utterances kept\s*{before}\s*{after}\s*\+{after - before}\b", page.text)


def test_what_is_no_release_has_no_report(tmp_path):
    with pytest.raises(InputError, match="no finished release"):
        write_report(tmp_path)


def test_the_command_names_the_page(built):
    ran = command("report", built)
    assert ran.returncode == 0, ran.stderr
    assert str(built / "report.html") in ran.stdout.replace("\n", "")
