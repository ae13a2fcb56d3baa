# SPDX-License-Identifier: Apache-2.0
"""The Great Expectations suites that judge the final tables of a release.

Each check has a name of its own, under which it appears in the summary and in the failures. What comes back holds ids,
counts and the names of columns, labels and reasons, never the text of a row; nor does it hold times or tracebacks, so
the same tables give the same judgement.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from validators.clip_checks import ClipTables, clip_frames
from validators.dialogue_checks import DialogueTables, dialogue_frames
from validators.suite_checks import Check, ReleaseBounds, utterance_checks, within

if TYPE_CHECKING:
    from great_expectations.core.batch_definition import BatchDefinition

NAMED_IDS = 5  # offending ids to name for each failed check: enough to look them up, few enough to read


@dataclass(frozen=True, slots=True)
class ReleaseJudgement:
    """Whether the tables may be released, and why not.

    `summary` has one entry for each check: check, expectation, column, success, observed, unexpected_count.
    `details` has each suite as plain JSON, check by check: its expectation with arguments, success, and the result with
    the ids of up to five offending rows.
    """

    success: bool
    failures: tuple[str, ...]
    summary: list[dict[str, Any]]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Suite:
    """The checks of one frame; `id_column` names its offending rows, where it has such a column."""

    name: str
    frame: pd.DataFrame
    id_column: str
    checks: tuple[Check, ...]


def judge_tables(
    utterances: pd.DataFrame,
    rejected: pd.DataFrame,
    bounds: ReleaseBounds,
    dialogues: DialogueTables | None = None,
    clips: ClipTables | None = None,
) -> ReleaseJudgement:
    """Judge the final tables: `utterances` as validators.schemas lays it out, `rejected` one row per RejectedRow.

    Columns that are absent fail the check of the columns and every check of their own.
    """
    import great_expectations as gx  # takes seconds, and only the end of a run needs it
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # the configuration that an ephemeral context has by default makes a folder for its data docs, and prints bars
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    config = DataContextConfig(
        store_backend_defaults=stores, progress_bars={"globally": False}, analytics_enabled=False
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    # one for all: it holds no frame, and the context writes its whole configuration at each that is added
    whole = (
        context.data_sources.add_pandas("release")
        .add_dataframe_asset("frame")
        .add_batch_definition_whole_dataframe("whole")
    )
    summary: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    failures: list[str] = []
    suites = list(_suites(utterances, rejected, bounds))
    if dialogues is not None:
        suites += [_Suite(*parts) for parts in dialogue_frames(dialogues, utterances, bounds.labels, bounds.splits)]
    if clips is not None:
        suites += [_Suite(*parts) for parts in clip_frames(clips, bounds.labels, bounds.splits)]
    for suite in suites:
        results = _validate(whole, suite)
        details[suite.name] = results
        summary += [_summarise(check, results[check.name]) for check in suite.checks]
        failures += [_say(check, results[check.name]) for check in suite.checks if not results[check.name]["success"]]
    return ReleaseJudgement(not failures, tuple(failures), summary, details)


def _suites(utterances: pd.DataFrame, rejected: pd.DataFrame, bounds: ReleaseBounds) -> Iterator[_Suite]:
    """Derive the frames to judge; each holds only flat columns, which Great Expectations can compare."""
    table = _flatten(utterances)
    yield _Suite(
        "tables",
        pd.DataFrame(columns=list(utterances.columns)),
        "",
        (Check("columns", "ExpectTableColumnsToMatchOrderedList", {"column_list": list(bounds.columns)}),),
    )
    yield _Suite("utterances", table, "utterance_id", tuple(utterance_checks(bounds)))
    feeling = table if "intended_label" not in table else table[~table["intended_label"].isin(bounds.without_intensity)]
    yield _Suite(
        "utterances_with_intensity",
        feeling,
        "utterance_id",
        (Check("intensity_present", "ExpectColumnValuesToNotBeNull", {"column": "intended_intensity"}),),
    )
    yield _Suite(
        "stories",
        _columns(table, "story_id", "split").drop_duplicates(),
        "story_id",
        (Check("one_split_per_story", "ExpectColumnValuesToBeUnique", {"column": "story_id"}),),
    )
    yield _Suite(
        "planned",
        _ends(utterances, rejected),
        "planned_id",
        (
            Check("one_end_per_planned_row", "ExpectColumnValuesToBeUnique", {"column": "planned_id"}),
            Check("planned_id_present", "ExpectColumnValuesToNotBeNull", {"column": "planned_id"}),
        ),
    )
    yield _outcome(len(utterances), rejected, bounds)


def _outcome(n_kept: int, rejected: pd.DataFrame, bounds: ReleaseBounds) -> _Suite:
    """Lay the counts of the run out as one row, so that each has its own expectation and its own name."""
    planned = max(1, bounds.planned_rows)
    row: dict[str, float] = {"accounted_rows": n_kept + len(rejected), "rejected_share": len(rejected) / planned}
    checks = [
        Check("rows_accounted_for", "ExpectColumnMaxToBeBetween", within("accounted_rows", bounds.planned_rows)),
        Check(
            "rejected_share",
            "ExpectColumnMaxToBeBetween",
            {"column": "rejected_share", "max_value": bounds.max_rejected_share},
        ),
    ]
    for figure in bounds.measured:
        # undefined is beyond any bound: a figure that nobody measured vouches for nothing
        row[figure.name] = (-1.0 if figure.floor is not None else 2.0) if figure.value is None else figure.value
        limits = {"min_value": figure.floor, "max_value": figure.ceiling}
        checks.append(Check(figure.name, "ExpectColumnMaxToBeBetween", {"column": figure.name, **_set(limits)}))
    rejected = rejected[~rejected["gate"].isin(bounds.without_reason_share)] if len(rejected) else rejected
    if len(rejected):
        counts = (rejected["gate"].astype(str) + "/" + rejected["reason"].astype(str)).value_counts().sort_index()
        for reason, count in counts.items():
            name = f"reason_share:{reason}"
            row[name] = int(count) / planned
            most = {"column": name, "max_value": bounds.max_reason_share}
            checks.append(Check(name, "ExpectColumnMaxToBeBetween", most))
    return _Suite("outcome", pd.DataFrame([row]), "", tuple(checks))


def _set(limits: Mapping[str, float | None]) -> dict[str, float]:
    return {name: limit for name, limit in limits.items() if limit is not None}


def _columns(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return the named columns, or none of them where one is absent: half of a pair would pass what the pair fails."""
    return frame[list(names)] if set(names) <= set(frame.columns) else pd.DataFrame(index=frame.index)


def _ends(utterances: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """Put the ids of kept and rejected rows into one column, planned_id."""
    kept = _columns(utterances, "utterance_id").rename(columns={"utterance_id": "planned_id"})
    lost = _columns(rejected, "planned_id") if len(rejected) else kept.head(0)
    if kept.columns.empty or lost.columns.empty:
        return pd.DataFrame()
    return pd.concat([kept.astype(object), lost.astype(object)], ignore_index=True)


def _flatten(utterances: pd.DataFrame) -> pd.DataFrame:
    """Replace the struct `intended` by intended_label and intended_intensity, null where the struct is."""
    if "intended" not in utterances:
        return utterances
    intended = [value if isinstance(value, Mapping) else {} for value in utterances["intended"]]
    # objects, since a column of integers and nulls would otherwise become one of floats
    flat = {
        f"intended_{field}": pd.Series([value.get(field) for value in intended], utterances.index, dtype=object)
        for field in ("label", "intensity")
    }
    return utterances.assign(**flat)


def _validate(whole: "BatchDefinition[Any]", suite: _Suite) -> dict[str, dict[str, Any]]:
    """Run the checks whose column is there; return the outcome of each check by its name, as plain JSON."""
    import great_expectations as gx

    absent = {"success": False, "result": {}, "problem": "the column is absent"}
    able = [check for check in suite.checks if check.arguments.get("column", "") in {"", *suite.frame.columns}]
    asked = {
        check.name: {"expectation": check.expectation, "arguments": dict(check.arguments)} for check in suite.checks
    }
    results: dict[str, dict[str, Any]] = {name: one | absent for name, one in asked.items()}
    if not able:
        return results
    expectations = [
        getattr(gx.expectations, check.expectation)(**check.arguments, meta={"check": check.name}) for check in able
    ]
    batch = whole.get_batch({"dataframe": suite.frame})
    # values are left out, since they are the text of rows
    result_format: dict[str, Any] = {"result_format": "BASIC", "partial_unexpected_count": 0}
    if suite.id_column in suite.frame:
        result_format |= {"result_format": "COMPLETE", "exclude_unexpected_values": True}
        result_format["unexpected_index_column_names"] = [suite.id_column]
    validated = batch.validate(
        gx.ExpectationSuite(name=suite.name, expectations=expectations), result_format=result_format
    )
    for found in validated.to_json_dict()["results"]:
        name = found["expectation_config"]["meta"]["check"]
        results[name] = asked[name] | _strip(found, suite.id_column)
    return results


def _strip(found: dict[str, Any], id_column: str) -> dict[str, Any]:
    """Keep what is the same on every machine: no tracebacks, no row values, the first few ids only."""
    result = {
        key: value for key, value in found["result"].items() if not key.startswith(("unexpected_index", "partial"))
    }
    ids = [value for entry in found["result"].get("unexpected_index_list") or [] for value in entry[id_column]]
    if ids:
        result["first_unexpected_ids"] = sorted({str(value) for value in ids})[:NAMED_IDS]
    stripped = {"success": bool(found["success"]), "result": result}
    # an exception is reported once for each metric, under the name of the metric, or for the expectation as a whole
    if not result and not found["success"]:
        stripped["problem"] = "it could not be evaluated on the values of this column"
    plain: dict[str, Any] = json.loads(json.dumps(stripped, allow_nan=False))
    return plain


def _summarise(check: Check, outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "check": check.name,
        "expectation": check.expectation,
        "column": check.arguments.get("column"),
        "success": outcome["success"],
        "observed": outcome["result"].get("observed_value"),
        "unexpected_count": outcome["result"].get("unexpected_count"),
    }


def _say(check: Check, outcome: Mapping[str, Any]) -> str:
    """Put a failed check into words: what was found, and the first ids that it concerns."""
    result = outcome["result"]
    observed = result.get("observed_value")
    if "problem" in outcome:
        found = outcome["problem"]
    elif isinstance(observed, list):
        expected = check.arguments["column_list"]
        missing = [column for column in expected if column not in observed]
        unknown = [column for column in observed if column not in expected]
        found = f"missing {missing}, unknown {unknown}" if missing or unknown else "in another order"
    elif "unexpected_count" in result:
        found = f"{result['unexpected_count']} rows, first {', '.join(result.get('first_unexpected_ids', ()))}"
    else:
        limits = (f"{key} {check.arguments[key]}" for key in ("min_value", "max_value") if key in check.arguments)
        found = f"{observed}, where {', '.join(limits)}"
    return f"{check.name}: {found}"
