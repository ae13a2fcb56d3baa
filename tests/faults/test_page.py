# SPDX-License-Identifier: Apache-2.0
"""All thirty cases have one file each, and the page about them says what these say."""

from tests.faults.page import CASES, PAGE, case_files, table, told


def test_every_case_has_its_file() -> None:
    assert sorted(case_files()) == list(range(1, CASES + 1))


def test_every_docstring_says_what_goes_wrong_and_what_is_expected() -> None:
    for path in case_files().values():
        what, outcome = told(path)
        assert len(what) > 15
        assert len(outcome) > 15
        assert outcome.endswith(".")


def test_the_page_is_current() -> None:
    assert table().strip() in PAGE.read_text(encoding="utf-8"), "run python -m tests.faults.page"
