# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: legible on light and dark ground, no wider than the window, and asking for nothing."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from flows.report import compare_releases, write_report
from flows.run_identity import DATA_DOCS
from tests.flows.test_report import built, recipe  # noqa: F401 - fixtures

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: install it to test the page"),
]

LEGIBLE = 4.5
"""Contrast of text of body size to its ground, as WCAG 2 asks at level AA."""
SCHEMES = ("light", "dark")
WINDOWS = ((1280, 900), (390, 800))
"""A desk and a telephone."""

# A canvas knows every notation of a colour. Ground is what lies beneath a text: the backgrounds of its ancestors, and
# in a chart each filled mark before it whose box holds its middle.
CONTRASTS = """() => {
  const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
    .getContext('2d', {willReadFrequently: true});
  const colour = (css, opacity = 1) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = css;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return {rgb: [red, green, blue], alpha: alpha / 255 * opacity};
  };
  const over = (ground, paint) => ground.map((value, n) => value + (paint.rgb[n] - value) * paint.alpha);
  const luminance = rgb => rgb
    .map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
  const sheet = document.body.appendChild(document.createElement('i'));
  sheet.style.backgroundColor = 'Canvas';  // a colour of the scheme, which the pen is not told
  const paper = colour(getComputedStyle(sheet).backgroundColor).rgb;
  sheet.remove();
  const marks = text => [...text.closest('svg').querySelectorAll('path, rect')].filter(mark => {
    const style = getComputedStyle(mark), box = mark.getBoundingClientRect(), of = text.getBoundingClientRect();
    const x = of.left + of.width / 2, y = of.top + of.height / 2;
    return style.fill !== 'none' && mark.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING
      && box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
  });
  const ground = element => {
    const ancestors = [];
    for (let one = element; one; one = one.parentElement) ancestors.unshift(one);
    let rgb = ancestors.reduce((under, one) => over(under, colour(getComputedStyle(one).backgroundColor)),
      paper);
    if (element.closest('svg')) for (const mark of marks(element)) {
      const style = getComputedStyle(mark);
      rgb = over(rgb, colour(style.fill, style.fillOpacity * style.opacity));
    }
    return rgb;
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), under = ground(element);
    const ink = over(under, colour(element.closest('svg') ? style.fill : style.color, style.opacity));
    const [light, dark] = [luminance(ink), luminance(under)].sort((a, b) => b - a);
    found.push({text, chart: !!element.closest('svg'), contrast: (light + 0.05) / (dark + 0.05)});
  }
  return found;
}"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Opened:
    """A page, with what it complained of and what it asked for after itself."""

    page: Page
    problems: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def show(self, path: Path) -> None:
        self.page.goto(path.as_uri())
        self.asked.remove(path.as_uri())

    def contrasts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(CONTRASTS)
        return found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=SCHEMES)
def opened(browser, request) -> Iterator[Opened]:
    context = browser.new_context(color_scheme=request.param)
    one = Opened(context.new_page())
    one.page.on("pageerror", lambda error: one.problems.append(str(error)))
    one.page.on("console", lambda told: one.problems.append(told.text) if told.type in {"error", "warning"} else None)
    one.page.on("request", lambda asked: None if asked.url.startswith("data:") else one.asked.append(asked.url))
    yield one
    context.close()


@pytest.fixture(scope="module", params=["report", "comparison", "data docs"])
def path(built, request):  # noqa: F811
    report = write_report(built)
    return {"report": report, "comparison": compare_releases(built, built), "data docs": built / DATA_DOCS}[
        request.param
    ]


def test_every_text_is_legible_on_its_ground(path, opened):
    opened.show(path)
    found = opened.contrasts()
    assert len(found) > 20
    assert any(one["chart"] for one in found) or path.parent.name == "data_docs"
    assert [one for one in found if one["contrast"] < LEGIBLE] == []


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: str(window[0]))
def test_nothing_is_wider_than_the_window_and_nothing_is_asked_for(path, opened, window):
    opened.page.set_viewport_size({"width": window[0], "height": window[1]})
    opened.show(path)
    assert opened.page.evaluate(OVERFLOW) <= 0
    assert opened.asked == []
    assert opened.problems == []


def test_charts_stand_side_by_side_where_there_is_room(built, opened):  # noqa: F811
    opened.page.set_viewport_size({"width": 1280, "height": 900})
    opened.show(write_report(built))
    boxes = [figure.bounding_box() for figure in opened.page.locator("section:has(h2:text-is('Labels')) figure").all()]
    assert len({box["y"] for box in boxes}) < len(boxes)


def test_the_report_leads_to_the_data_docs_and_back(built, opened):  # noqa: F811
    report = write_report(built)
    opened.show(report)
    opened.page.get_by_role("link", name="Data Docs").click()
    assert opened.page.url == (built / DATA_DOCS).as_uri()
    opened.page.get_by_role("link", name="utterances", exact=True).click()
    assert opened.page.locator("h2:text-is('utterances')").bounding_box()["y"] < 100
    opened.page.get_by_role("link", name="Back to the report").click()
    assert opened.page.url == report.as_uri()


def test_a_clip_is_heard(built, opened):  # noqa: F811
    opened.show(write_report(built))
    player = opened.page.locator("audio").first
    player.evaluate("player => player.play()")
    until = time.monotonic() + 20
    while not player.evaluate("player => player.currentTime"):
        assert time.monotonic() < until, "it does not play"
    assert opened.asked == []
    assert opened.problems == []


def test_what_is_bad_would_be_seen(tmp_path, opened):
    """The measures above, on a page that fails each of them."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><style>:root { color-scheme: light dark }</style>"
        "<p style='color: color-mix(in srgb, gray 70%, Canvas)'>pale</p>"
        "<svg><path d='M0 0H100V50H0Z' fill='CanvasText' fill-opacity='.7'/><text x='20' y='25' fill='CanvasText'>over"
        "</text></svg><p>plain</p><div style='width: 200vw'>wide</div><img src='missing.png'>"
        "<script>console.error('no')</script>"
    )
    opened.show(page)
    assert {one["text"] for one in opened.contrasts() if one["contrast"] < LEGIBLE} == {"pale", "over"}
    assert opened.page.evaluate(OVERFLOW) > 0
    assert opened.asked == [(tmp_path / "missing.png").as_uri()]
    assert "no" in opened.problems
