# SPDX-License-Identifier: Apache-2.0
"""The page of raters in a real browser, by keyboard alone."""

import re
import shutil
import time

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from flows.review import export_ratings
from tests.flows.reviews import served
from tests.flows.test_review import HOSTILE, built, recipe, release  # noqa: F401 - fixtures

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: install it to test the page"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page that may neither fail nor break its own policy."""
    context = browser.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    yield opened
    context.close()
    assert not problems


def enter(page: Page, url: str, name: str) -> None:
    page.goto(url)
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#rate")).to_be_visible()


def answer(page: Page, *labels: tuple[str, str]) -> None:
    """Answer the item that is shown: labels with intensities, or none. A check is done as it says."""
    before = page.locator("#count").inner_text()
    asked = re.search(r"Choose (\w+), mild", page.locator("#item").inner_text())
    chosen = ((asked[1], "1"),) if asked else labels
    for label, intensity in chosen:
        page.keyboard.type(label)
        page.keyboard.press("Enter")
        page.keyboard.press(intensity)
    if not chosen:
        page.keyboard.press("-")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).not_to_have_text(before)


def left(page: Page) -> int:
    """How many items are still to be answered."""
    found = re.search(r"of (\d+), (\d+) answered", page.locator("#count").inner_text())
    assert found
    return int(found[1]) - int(found[2])


def test_ten_items_by_keyboard_with_a_reload_in_the_middle(release, page):  # noqa: F811
    given = [(), (("joy", "2"),), (("joy", "0"), ("grief", "1"))]
    with served(release, "--items", "10") as server:
        enter(page, server.url, "Ida")
        for n in range(5):
            answer(page, *given[n % 3])
        item = page.locator("#item").inner_text()
        page.keyboard.type("fea")  # not stored: it is no answer yet
        page.reload()
        expect(page.locator("#count")).to_have_text("6 of 12, 5 answered")
        assert page.locator("#item").inner_text() == item
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#count")).to_have_text("5 of 12, 5 answered")
        assert "joy" in page.locator("#chosen").inner_text().lower() or "Do as it says" in page.inner_text("#question")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#count")).to_have_text("6 of 12, 5 answered")
        for n in range(5, 11):
            answer(page, *given[n % 3])
        page.keyboard.type("hap")  # a word for joy
        page.keyboard.press("Enter")
        page.keyboard.press("1")
        asked = re.search(r"Choose (\w+), mild", page.locator("#item").inner_text())
        assert left(page) == 1
        page.keyboard.press("Enter")
        expect(page.locator("#end")).to_be_visible()
        assert "12 answers of 1 raters" in server.end()
    table = pq.read_table(export_ratings(release).path).to_pylist()
    assert [row["position"] for row in table] == list(range(12))
    for n, row in enumerate(table[:11]):
        if row["presentation"] != "check":
            heard = [(one["label"], str(one["intensity"])) for one in row["labels"]]
            assert heard == list(given[n % 3] or [("neutral", "1")])  # none is what neutral says
    assert asked or table[11]["labels"] == [{"label": "joy", "intensity": 1}]


def test_the_page_says_what_is_missing_and_takes_back(release, page):  # noqa: F811
    with served(release, "--items", "3") as server:
        enter(page, server.url, "Ida")
        page.keyboard.press("Enter")
        expect(page.locator("#rate .problem")).to_have_text("Choose an emotion, or - for none.")
        page.keyboard.type("joy")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expect(page.locator("#rate .problem")).to_contain_text("How strong is Joy?")
        page.keyboard.type("xyzzy")
        page.keyboard.press("Enter")
        expect(page.locator("#rate .problem")).to_have_text("No emotion begins so.")
        page.keyboard.press("Escape")
        page.keyboard.press("Backspace")
        expect(page.locator("#chosen")).to_contain_text("Nothing chosen yet")
        for label in ("joy", "fear", "grief", "love", "pride", "anger"):
            page.keyboard.type(label)
            page.keyboard.press("Enter")
        expect(page.locator("#rate .problem")).to_contain_text("Up to 5")
        expect(page.locator("#chosen > li")).to_have_count(5)
        page.keyboard.press("-")
        expect(page.locator("#chosen")).to_contain_text("None")


def test_a_name_injects_nothing(release, page):  # noqa: F811
    with served(release, "--items", "2") as server:
        enter(page, server.url, HOSTILE)
        expect(page.locator("#who")).to_have_text(HOSTILE)
        assert page.locator("img").count() == 0
        page.reload()
        expect(page.locator("#who")).to_have_text(HOSTILE)
        assert page.locator("img").count() == 0


def test_two_raters_in_one_browser_do_not_mix(release, page):  # noqa: F811
    with served(release, "--items", "4") as server:
        other = page.context.new_page()  # one browser, so one store of cookies
        enter(page, server.url, "ann")
        enter(other, server.url, "bob")
        for _ in range(2):
            answer(page, ("joy", "2"))
            answer(other, ("fear", "1"))
        page.reload()
        other.reload()
        for one, name in ((page, "ann"), (other, "bob")):
            expect(one.locator("#who")).to_have_text(name)
            expect(one.locator("#count")).to_have_text("3 of 6, 2 answered")
        server.end()
    rows = pq.read_table(export_ratings(release).path).to_pylist()
    heard = {(row["rater"], one["label"]) for row in rows if row["presentation"] != "check" for one in row["labels"]}
    assert heard <= {("ann", "joy"), ("bob", "fear")}
    assert {rater for rater, _ in heard} == {"ann", "bob"}


def test_a_clip_is_played_by_the_space_bar(release, page):  # noqa: F811
    with served(release, "--kind", "audio", "--items", "3") as server:
        enter(page, server.url, "Ida")
        while page.locator("#item audio").count() == 0:
            answer(page)
        page.keyboard.press("Space")
        until = time.monotonic() + 20
        while not page.locator("#item audio").evaluate("player => player.currentTime"):
            assert time.monotonic() < until, "it does not play"
        assert page.locator("#item").inner_text().strip() == ""


def test_elsewhere_the_token_leads_to_the_page_and_leaves_the_address(release, page):  # noqa: F811
    with served(release, "--host", "127.0.0.1", "--items", "2") as server:
        page.goto(server.url)
        page.wait_for_url(f"http://{server.address}/")
        page.keyboard.type("Ida")
        page.keyboard.press("Enter")
        expect(page.locator("#rate")).to_be_visible()
        answer(page, ("joy", "1"))
        page.reload()
        expect(page.locator("#count")).to_contain_text("1 answered")
        assert page.evaluate("document.cookie") == ""


def test_a_server_that_is_gone_loses_nothing_that_was_told_as_stored(release, browser):  # noqa: F811
    page = browser.new_context().new_page()
    with served(release, "--items", "4") as server:
        enter(page, server.url, "Ida")
        answer(page, ("joy", "1"))
        server.kill()
        page.keyboard.press("-")
        page.keyboard.press("Enter")
        expect(page.locator("#rate .problem")).to_contain_text("does not answer")
    page.context.close()
