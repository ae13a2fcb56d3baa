# SPDX-License-Identifier: Apache-2.0
"""The Data Docs say what was asked and found when the release was made, as one page that runs and fetches nothing."""

import json
import shutil

from flows.manifest import verify_release
from flows.report import write_report
from flows.run_identity import DATA_DOCS, WORK, remove_made
from tests.flows.test_report import HOSTILE, Page, built, recipe  # noqa: F401 - fixtures


def read(root) -> Page:
    write_report(root)
    return Page((root / DATA_DOCS).read_text())


def test_each_suite_and_each_check_is_there(built):  # noqa: F811
    page = read(built)
    suites = json.loads((built / WORK / "judgement.json").read_bytes())["details"]
    assert {"utterances", "dialogues", "clips"} <= suites.keys()
    for name, checks in suites.items():
        assert ("id", name) in page.attributes
        assert f"{name}{len(checks)} of {len(checks)}" in page.text
    holds = [value for name, value in page.attributes if name == "class" and "text-success" in value]
    assert len(holds) == sum(map(len, suites.values()))
    assert "values must never be null" in page.text


def test_the_page_runs_nothing_and_fetches_nothing_and_escapes(built, tmp_path):  # noqa: F811
    root = shutil.copytree(built, tmp_path / "out")
    path = root / WORK / "judgement.json"
    judgement = json.loads(path.read_bytes())
    suite = judgement["details"]["utterances"]
    suite["label_known"]["arguments"]["value_set"] = [f"allowed {HOSTILE}"]
    suite["label_present"]["arguments"]["column"] = f"column {HOSTILE}"
    suite["kept_rows"]["result"]["observed_value"] = f"observed {HOSTILE}"
    path.write_text(json.dumps(judgement))
    page = read(root)
    for place in ("allowed", "column", "observed"):
        assert f"{place} {HOSTILE}" in page.text
    assert not {"script", "img", "link"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    links = {value for name, value in page.attributes if name == "href"}
    assert all(value.startswith("#") or value == "../report.html" for value in links)
    assert any(name == "content" and "default-src 'none'" in value for name, value in page.attributes)


def test_an_id_stands_once(built):  # noqa: F811
    ids = [value for name, value in read(built).attributes if name == "id"]
    assert len(set(ids)) == len(ids)


def test_the_same_release_gives_the_same_page_which_is_no_part_of_it(built):  # noqa: F811
    read(built)
    before = (built / DATA_DOCS).read_bytes()
    read(built)
    assert (built / DATA_DOCS).read_bytes() == before
    assert verify_release(built) == []
    assert [path.name for path in (built / DATA_DOCS).parent.iterdir()] == ["index.html"]


def test_a_check_that_fails_is_shown_with_what_it_found(built, tmp_path):  # noqa: F811
    root = shutil.copytree(built, tmp_path / "out")
    path = root / WORK / "judgement.json"
    judgement = json.loads(path.read_bytes())
    check = judgement["details"]["utterances"]["label_known"]
    check["success"] = False
    check["result"] |= {"element_count": 10, "unexpected_count": 2, "unexpected_percent": 20.0}
    path.write_text(json.dumps(judgement))
    page = read(root)
    n = len(judgement["details"]["utterances"])
    assert f"utterances{n - 1} of {n}" in page.text
    assert "2 unexpected values found. 20% of 10 total rows." in page.text


def test_a_release_that_was_judged_before_expectations_were_stored_has_none(built, tmp_path):  # noqa: F811
    root = shutil.copytree(built, tmp_path / "out", ignore=shutil.ignore_patterns("data_docs"))
    path = root / WORK / "judgement.json"
    judgement = json.loads(path.read_bytes())
    for checks in judgement["details"].values():
        for check in checks.values():
            del check["expectation"], check["arguments"]
    path.write_text(json.dumps(judgement))
    assert "data_docs" not in write_report(root).read_text()
    assert not (root / DATA_DOCS).exists()


def test_what_a_run_made_is_removed_with_them(built, tmp_path):  # noqa: F811
    root = shutil.copytree(built, tmp_path / "out")
    read(root)
    remove_made(root)
    assert not (root / DATA_DOCS).parent.exists()
