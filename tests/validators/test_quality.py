# SPDX-License-Identifier: Apache-2.0
"""The figures of a release count every row where it belongs, and say so where nobody read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from validators.errors import InputError
from validators.quality import READINGS, quality
from validators.schemas import PERCEIVED, REJECTED

LABELS = ("joy", "fear", "neutral")

# The columns that the figures need, as they are in the release; the others make no difference.
COLUMNS = pa.schema(
    [
        ("story_id", pa.string()),
        ("character", pa.string()),
        ("text", pa.string()),
        ("text_ambiguous", pa.string()),
        ("intended", pa.struct([("label", pa.string()), ("intensity", pa.int8()), ("cause", pa.string())])),
        *((name, PERCEIVED) for name in READINGS),
        ("realised", pa.bool_()),
        ("realised_at_first", pa.bool_()),
        ("reader", pa.string()),
    ]
)


def row(label: str, number: int = 0, **values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys((*READINGS, "text_ambiguous", "realised", "realised_at_first", "reader"))
    return {
        "story_id": "s-000000000000",
        "character": "Ida",
        "text": f"Line number {number} it is.",
        "intended": {"label": label, "intensity": 1, "cause": ""},
        **nothing,
        **values,
    }


def read(label: str, number: int, *, first: bool, final: bool, **scores: float) -> dict[str, Any]:
    return row(label, number, perceived=found(scores), realised=final, realised_at_first=first, reader="head@1")


def found(scores: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in scores.items()]


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pa.Table.from_pylist(list(rows), schema=COLUMNS).to_pandas()


def lost(*rows: Sequence[str]) -> pd.DataFrame:
    """Rejected rows of label, gate and reason."""
    records = [
        {"planned_id": f"u-{n}", "stage": "utterances", "gate": gate, "reason": reason}
        | {"detail": "", "label": label, "attempt": 1, "seed": 0, "reply": ""}
        | {"heard": "neutral" if gate == "reader" else ""}
        for n, (label, gate, reason) in enumerate(rows)
    ]
    return pa.Table.from_pylist(records, schema=REJECTED).to_pandas()


KEPT = table(
    read("joy", 1, first=True, final=True, joy=0.6, neutral=0.3),
    read("joy", 2, first=False, final=True, neutral=0.5, joy=0.4),
    read("joy", 3, first=True, final=True, joy=0.4, neutral=0.5),
    read("fear", 4, first=False, final=False, neutral=0.9),
    read("neutral", 5, first=True, final=True),
)
LOST = lost(
    ("joy", "reader", "not_realised"),
    ("fear", "reader", "not_realised"),
    ("joy", "rules", "too_long"),
    ("fear", "duplicates", "near_duplicate"),
    ("", "parse", "no_json"),
)


def figures(*arguments: Any, **options: Any) -> dict[str, Any]:
    """As they come back from JSON, which holds no NaN."""
    plain: dict[str, Any] = json.loads(json.dumps(quality(*arguments, **options), allow_nan=False))
    return plain


def test_rates_are_over_kept_rows_and_candidates_never_heard_as_intended():
    found = figures(KEPT, LOST, LABELS)
    assert found["verified"] is True
    assert found["readers"] == ["head@1"]
    assert found["realised_at_first"] == {
        "count": 3,
        "rows": 7,
        "rate": pytest.approx(3 / 7),
        "low": pytest.approx(0.1582, abs=1e-4),
        "high": pytest.approx(0.7495, abs=1e-4),
    }
    assert (found["realised"]["count"], found["realised"]["rows"]) == (4, 7)
    joy, fear, neutral = (found["per_label"][label] for label in LABELS)
    assert (joy["realised_at_first"]["count"], joy["realised"]["count"], joy["realised"]["rows"]) == (2, 3, 4)
    assert (fear["realised"]["rate"], fear["realised"]["rows"]) == (0.0, 2)
    assert (neutral["realised"]["rate"], neutral["realised"]["rows"]) == (1.0, 1)


def test_rows_are_counted_by_label_without_those_that_had_none():
    found = figures(KEPT, LOST, LABELS)
    assert found["rows"] == {"planned": 9, "kept": 5, "rejected": 4}
    counts = {label: [found["per_label"][label][name] for name in found["rows"]] for label in LABELS}
    assert counts == {"joy": [5, 3, 2], "fear": [3, 1, 2], "neutral": [1, 1, 0]}
    planned = pd.DataFrame({"intended_label": ["joy"] * 8 + ["fear"] * 2})
    found = figures(KEPT, LOST, LABELS, planned=planned)
    assert found["rows"] == {"planned": 10, "kept": 5, "rejected": 4}
    assert found["per_label"]["joy"]["planned"] == 8


def test_the_confusion_goes_by_the_label_that_the_reader_ranks_first():
    found = figures(KEPT, LOST, LABELS)
    assert found["confusion"] == {
        # neutral is common: its higher score may say less; the other joy, and a fear, fell since they were not heard
        "joy": {"joy": 2, "fear": 0, "neutral": 2},
        "fear": {"joy": 0, "fear": 0, "neutral": 2},
        "neutral": {"joy": 0, "fear": 0, "neutral": 0},
    }
    assert found["nothing_perceived"] == 1


def contextual(number: int, **readings: float | None) -> dict[str, Any]:
    """A row of joy; each reading is the score of joy, or None where it was left out as next to nothing."""
    names = {"alone": READINGS[0], "in_context": READINGS[1], "ambiguous": READINGS[2], "both": READINGS[3]}
    scores = {
        names[name]: found({"neutral": 0.2} | ({} if score is None else {"joy": score}))
        for name, score in readings.items()
    }
    return row("joy", number, text_ambiguous="So it is.", reader="head@1", **scores)


def test_rewritten_texts_are_compared_with_and_without_their_context():
    kept = table(
        contextual(1, alone=0.8, in_context=0.9, ambiguous=0.1, both=0.5),
        contextual(2, alone=0.6, in_context=0.7, ambiguous=None, both=0.1),
        contextual(3, alone=0.4, in_context=0.5, ambiguous=0.3, both=0.3),
        row("joy", 4, perceived=found({"joy": 0.0}), reader="head@1"),  # not contextual
    )
    assert figures(kept, lost(), LABELS)["contextual"] == {
        "rows": 3,
        "less_certain_alone": {
            "count": 2,
            "rows": 3,
            "rate": pytest.approx(2 / 3),
            "low": pytest.approx(0.2077, abs=1e-4),
            "high": pytest.approx(0.9385, abs=1e-4),
        },
        "mean_score": {
            "perceived": pytest.approx(0.6),
            "perceived_in_context": pytest.approx(0.7),
            "perceived_ambiguous": pytest.approx(0.4 / 3),
            "perceived_ambiguous_in_context": pytest.approx(0.3),
        },
    }


def test_without_a_reader_no_rate_is_claimed():
    kept = table(row("joy", 1, text_ambiguous="So it is."), row("fear", 2))
    for frame in (kept, kept.drop(columns=[*READINGS, "realised", "realised_at_first", "reader"])):
        found = figures(frame, lost(("joy", "rules", "too_long")), LABELS)
        assert found["verified"] is False
        assert found["readers"] == []
        assert found["realised"] is found["realised_at_first"] is found["confusion"] is None
        assert found["per_label"]["joy"]["realised"] is None
        assert found["contextual"] == {
            "rows": 1,
            "less_certain_alone": None,
            "mean_score": dict.fromkeys(READINGS),
        }
        assert found["rows"] == {"planned": 3, "kept": 2, "rejected": 1}


def test_no_rows_at_all():
    for nothing in (pd.DataFrame(), table()):
        found = figures(nothing, lost(), LABELS)
        assert found["rows"] == {"planned": 0, "kept": 0, "rejected": 0}
        assert found["verified"] is False
        assert found["diversity"]["overall"]["texts"] == 0
        assert list(found["per_label"]) == list(LABELS)


def test_where_every_candidate_missed_the_rates_are_zero():
    found = figures(table(), lost(("fear", "reader", "not_realised")), LABELS)
    assert found["verified"] is True
    assert found["realised"]["rate"] == 0.0
    assert found["per_label"]["fear"]["realised"]["rows"] == 1
    assert found["per_label"]["joy"]["realised"] is None


def test_diversity_is_that_of_the_texts_neutral_apart():
    vectors = np.eye(5, dtype=np.float32)
    found = figures(KEPT, LOST, LABELS, neutral="neutral", vectors=vectors)["diversity"]
    assert set(found["per_label"]) == {"joy", "fear"}
    assert found["neutral"]["texts"] == 1
    assert found["within_character"] == {"pairs": 10, "mean": 0.0, "nearest": 0.0}
    elsewhere = KEPT.assign(story_id=[f"s-{n:012}" for n in range(5)])  # the same name in five stories
    found = figures(elsewhere, LOST, LABELS, vectors=vectors)["diversity"]
    assert found["within_character"]["pairs"] == 0


def test_the_order_of_rows_changes_nothing():
    assert figures(KEPT[::-1], LOST[::-1], LABELS) == figures(KEPT, LOST, LABELS)


def test_what_cannot_be_read_is_refused():
    with pytest.raises(InputError, match="'neutral'"):
        quality(KEPT, LOST, ("joy", "fear"))
    with pytest.raises(InputError, match="'dread'"):
        quality(KEPT, lost(("dread", "rules", "too_long")), LABELS)
    with pytest.raises(InputError, match="'dread'"):
        quality(KEPT, LOST, LABELS, planned=pd.DataFrame({"intended_label": ["dread"]}))
    with pytest.raises(InputError, match="lacks the column character"):
        quality(KEPT.drop(columns="character"), LOST, LABELS)
    with pytest.raises(InputError, match="lacks the column gate"):
        quality(KEPT, LOST.drop(columns="gate"), LABELS)
    for score in (np.nan, 1.5):
        odd = table(row("joy", perceived=found({"joy": score})))
        with pytest.raises(InputError, match="perceived of row 0 gives 'joy' a score that is no probability"):
            quality(odd, LOST, LABELS)
