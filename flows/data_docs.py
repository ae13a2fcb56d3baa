# SPDX-License-Identifier: Apache-2.0
"""The Data Docs of a release: what Great Expectations asked of its tables and what it found, as one page.

Great Expectations renders the suites from what the build stored; the frame is ours. The site that it would build by
itself loads styles, scripts and pictures from other hosts, and its index stands empty without them.
"""

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from flows.atomic import write_bytes
from flows.report_parts import Measured
from flows.run_identity import DATA_DOCS

Checks = Mapping[str, Mapping[str, Any]]


def suites_of(measured: Measured) -> Mapping[str, Checks]:
    """The suites that can be shown; none of a release that was judged before expectations were stored."""
    suites: Mapping[str, Checks] = measured.judgement.get("details") or {}
    whole = all("expectation" in check for checks in suites.values() for check in checks.values())
    return suites if whole else {}


def write_data_docs(measured: Measured) -> None:
    """Write the page beside the report of a release, if it has suites to show."""
    from jinja2 import Environment

    suites = suites_of(measured)
    if not suites:
        return
    template = (files("flows") / "templates" / "data_docs.html").read_text(encoding="utf-8")
    shown = [
        {
            "name": name,
            "checks": len(checks),
            "hold": sum(check["success"] for check in checks.values()),
            "sections": _sections(name, checks),
        }
        for name, checks in suites.items()
    ]
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    path = measured.root / DATA_DOCS
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, page.render(title=measured.root.name, suites=shown).encode())


def _sections(name: str, checks: Checks) -> list[str]:
    """The tables of a suite as Great Expectations renders them: one of the whole frame, one of each column."""
    from great_expectations import __version__
    from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaSectionView

    results = [_result(outcome) for outcome in checks.values()]
    held = sum(result.success for result in results)
    validated = ExpectationSuiteValidationResult(
        success=held == len(results),
        results=results,
        suite_name=name,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": held,
            "unsuccessful_expectations": len(results) - held,
            "success_percent": 100 * held / len(results),
        },
        meta={"run_id": RunIdentifier(run_name=name), "great_expectations_version": __version__},
    )
    page = ValidationResultsPageRenderer(run_info_at_end=True).render(validated)
    view = DefaultJinjaSectionView()
    # the first is an overview that links to pages of its site, the last tells the time: ours is the same at any
    parts = [_escaped(section.to_json_dict()) for section in page.sections[1:-1]]
    rendered = [view.render({"section": part, "section_loop": {}}) for part in parts]
    return [re.sub(r' id="[^"]*"', "", html) for html in rendered]  # each section would bring the same ones


def _escaped(section: dict[str, Any]) -> dict[str, Any]:
    """A section whose heads and plain cells are escaped: its view escapes the parameters of templates and no more."""
    for block in section["content_blocks"]:
        if block["content_block_type"] == "header":
            head = block["header"]["string_template"]
            head["template"] = escape(head["template"])
        if block["content_block_type"] == "table":
            block["table"] = [[_escaped_cell(cell) for cell in row] for row in block["table"]]
    return section


def _escaped_cell(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_escaped_cell(one) for one in cell]
    return escape(cell) if isinstance(cell, str) else cell


def _result(outcome: Mapping[str, Any]) -> Any:
    """What was found by a check, as Great Expectations holds it."""
    import great_expectations as gx
    from great_expectations.core import ExpectationValidationResult

    expectation = getattr(gx.expectations, outcome["expectation"])(**outcome["arguments"])
    return ExpectationValidationResult(
        success=outcome["success"],
        expectation_config=expectation.configuration,
        result=outcome["result"],
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )
