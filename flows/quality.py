# SPDX-License-Identifier: Apache-2.0
"""quality.json: how true, even and varied the rows of a release are, measured on the rows themselves."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from flows.aims import Floors
from flows.quotas import Filled
from flows.runs import Run
from validators.quality import quality
from validators.suite_checks import Measured


def measure_quality(run: Run, filled: Filled, kept: pa.Table, rejected: pa.Table) -> dict[str, Any]:
    """Measure a release: realisation, confusion, diversity, and quotas. Same rows, same figures: it holds no times."""
    planned = pd.DataFrame({"intended_label": [row.intended.label for row in filled.rows]}, dtype=object)
    figures = quality(
        kept.to_pandas(),
        rejected.to_pandas(),
        run.taxonomy.names,
        planned=planned,
        neutral=run.taxonomy.neutral,
        encoder=run.inputs.models.open_encoder(),
        seed=run.recipe.seed,
    )
    return {"quotas": quota_figures(filled), **figures}


def bounded_figures(floors: Floors, figures: Mapping[str, Any]) -> tuple[Measured, ...]:
    """The figures that a recipe bounds; a bound that cannot fail is none."""
    words = figures["diversity"]["without_neutral"] or figures["diversity"]["overall"]
    bounds = (
        Measured("realised", (figures["realised"] or {}).get("rate"), floor=floors.realised),
        Measured("distinct_2", words["distinct_2"], floor=floors.distinct_2),
        Measured("opening_share", words["commonest_opening_share"], ceiling=floors.opening_share),
    )
    return tuple(one for one in bounds if one.floor or (one.ceiling or 1) < 1)


def quota_figures(filled: Filled) -> dict[str, Any]:
    """Wanted and accepted rows by label, and why a label has fewer."""
    return {
        "rounds": len(filled.rounds),
        "wanted": sum(filled.targets.values()),
        "accepted": sum(filled.accepted.values()),
        "labels": {
            label: {"wanted": target, "accepted": filled.accepted[label], "short_because": filled.short.get(label)}
            for label, target in filled.targets.items()
        },
    }
