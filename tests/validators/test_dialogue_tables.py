# SPDX-License-Identifier: Apache-2.0
"""Figures and checks of dialogues, on tables made by hand."""

from typing import Any

import pandas as pd
import pytest

from validators.dialogue_checks import DialogueTables, dialogue_frames
from validators.dialogue_quality import dialogue_quality
from validators.dialogue_records import PlannedDialogue, PlannedTurn
from validators.dialogue_schemas import DIALOGUE_COLUMNS, DIALOGUES
from validators.suite_checks import ReleaseBounds
from validators.suites import judge_tables

LABELS = ("joy", "fear", "anger")


def planned(number: int, n_turns: int = 3, *, story: bool = False, writers: tuple[str, str] = ("a", "b")) -> Any:
    return PlannedDialogue(
        dialogue_id=f"d-00000-{number:04d}",
        domain=None if story else "work",
        story_id="s-0123456789ab" if story else None,
        utterance_id="u-00000-0001" if story else None,
        names=("Leila", "Bruno"),
        writers=writers,
        baselines=("joy", "fear"),
        trajectory=tuple(
            PlannedTurn(speaker=n % 2, label=LABELS[n % 2], intensity=1, reason="start")  # type: ignore[arg-type]
            for n in range(n_turns)
        ),
        split="train",
        seed=1,
    )


def kept(plan: Any, **changes: Any) -> dict[str, Any]:
    turns = [
        {
            "turn": n,
            "speaker": turn.speaker,
            "text": f"line {n}",
            "intended": {"label": turn.label, "intensity": 1, "cause": ""},
            "perceived_in_dialogue": [{"label": "joy", "score": 0.9}],
        }
        for n, turn in enumerate(plan.trajectory)
    ]
    row = dict.fromkeys(DIALOGUES.names) | {
        "dialogue_id": plan.dialogue_id,
        "story_id": plan.story_id,
        "utterance_id": plan.utterance_id,
        "split": plan.split,
        "speakers": [{"writer_licence": "MIT"}] * 2,
        "trajectory": [turn.model_dump() for turn in plan.trajectory],
        "turns": turns,
        "adherence": 1.0,
        "judged": {"relevance": 0.8, "consistency": 0.6, "reasons": 0.7},
    }
    return row | changes


def rejected(plan: Any, stage: str, reason: str = "not_realised") -> dict[str, str]:
    return {"planned_id": plan.dialogue_id, "stage": stage, "gate": "x", "reason": reason, "label": ""}


PLANS = [planned(0, 3), planned(1, 4, story=True), planned(2, 3, writers=("a", "a")), planned(3, 4), planned(4, 3)]
KEPT = pd.DataFrame([kept(PLANS[0]), kept(PLANS[1])])
REJECTED = pd.DataFrame(
    [
        rejected(PLANS[2], "premise"),
        rejected(PLANS[3], "turn_1", "narration"),
        rejected(PLANS[4], "judge", "incoherent"),
    ]
)
COUNTS = {"turn/0/written": 3, "turn/0/first": 1, "turn/0/realised": 2, "turn/1/written": 3, "turn/1/first": 2,
          "turn/1/realised": 3, "emotion/joy/written": 6, "emotion/joy/first": 3, "writer/a/written": 6,
          "judge/yes/rules/yes": 2, "judge/no/rules/yes": 1, "judge/yes/rules/no": 1}  # fmt: skip


def test_the_figures_of_dialogues() -> None:
    figures = dialogue_quality(PLANS, KEPT, REJECTED, COUNTS)
    assert figures["rows"] == {"planned": 5, "kept": 2, "rejected": 3}
    rates = figures["keep_rate"]
    assert rates["all"]["rate"] == pytest.approx(0.4)
    assert rates["from_stories"]["rate"] == 1
    assert rates["from_domains"]["count"] == rates["by_domain"]["work"]["count"] == 1
    assert {name: rate["rows"] for name, rate in rates["by_writers"].items()} == {"a + a": 1, "a + b": 4}
    assert {name: rate["count"] for name, rate in rates["by_turns"].items()} == {"3": 1, "4": 1}
    # one fell before its first turn, one at its second: the last turns were reached by those that had them
    assert {n: (one["came"], one["fell"]) for n, one in figures["turns"].items()} == {
        "0": (4, 0), "1": (4, 1), "2": (3, 0), "3": (1, 0)
    }  # fmt: skip
    assert figures["realised_at_first"]["rate"] == pytest.approx(3 / 6)
    assert figures["realised"]["rate"] == pytest.approx(5 / 6)
    assert figures["emotions"]["joy"]["realised_at_first"]["rate"] == pytest.approx(0.5)
    # of the turns after the first, the third and the other speaker's never
    assert figures["realised_in_dialogue"]["rows"] == 5
    assert figures["realised_in_dialogue"]["count"] == 2
    assert figures["trajectories"] == {
        "emotions": {"fear": 3, "joy": 4}, "occur": 2, "persistence": figures["trajectories"]["persistence"]
    }  # fmt: skip
    assert figures["trajectories"]["persistence"]["rate"] == 1
    assert figures["judge"]["counts"]["judge_no_rules_yes"] == 1
    assert figures["judge"]["mean_answers"]["relevance"] == pytest.approx(0.8)
    assert figures["judge"]["kappa"] == pytest.approx(-1 / 3)


def test_without_reader_or_judge_the_figures_are_absent() -> None:
    row = kept(PLANS[0], adherence=None, judged=None)
    for turn in row["turns"]:
        turn["perceived_in_dialogue"] = None
    figures = dialogue_quality(PLANS[:1], pd.DataFrame([row]), REJECTED.head(0), {})
    assert figures["judge"] is None
    assert figures["adherence"] is None
    assert figures["realised"] is None
    assert figures["realised_in_dialogue"] is None


def spoken(split: str = "train") -> pd.DataFrame:
    return pd.DataFrame([{"utterance_id": "u-00000-0001", "story_id": "s-0123456789ab", "split": split}])


def failures(rows: pd.DataFrame, utterances: pd.DataFrame | None = None, n_planned: int = 5) -> set[str]:
    tables = DialogueTables(rows, REJECTED, n_planned, tuple(DIALOGUES.names), min_kept_rows=2)
    frames = dialogue_frames(tables, spoken() if utterances is None else utterances, LABELS, ("train", "test"))
    names = {check.name for _, _, _, checks in frames for check in checks}
    bounds = ReleaseBounds(labels=LABELS, columns=(), required=(), planned_rows=1)
    judged = judge_tables(spoken() if utterances is None else utterances, REJECTED.head(0), bounds, tables)
    return {one["check"] for one in judged.summary if not one["success"]} & names


def test_whole_tables_pass() -> None:
    assert failures(KEPT) == set()


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"dialogue_id": "d-00000-0000"}, "dialogue_id_unique"),
        ({"dialogue_id": "d-1"}, "dialogue_id_form"),
        ({"split": "dev"}, "dialogue_split_known"),
        ({"speakers": [{"writer_licence": "MIT"}, {"writer_licence": "unknown"}]}, "writer_licences_present"),
        ({"utterance_id": "u-00000-0009"}, "utterance_of_dialogue_known"),
        ({"turns": kept(PLANS[1])["turns"][:3]}, "turns_as_planned"),
        ({"turns": [kept(PLANS[1])["turns"][n] for n in (0, 2, 1, 3)]}, "roles_alternate"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], check: str) -> None:
    rows = pd.DataFrame([kept(PLANS[0]), kept(PLANS[1], **changes)])
    assert check in failures(rows)


def test_a_story_in_two_splits_and_lost_dialogues_are_named() -> None:
    assert "one_split_per_story_of_all_tables" in failures(KEPT, spoken("test"))
    assert "dialogues_accounted_for" in failures(KEPT, n_planned=6)
    assert "kept_dialogues" in failures(KEPT.head(1))


def test_every_column_is_described() -> None:
    assert list(DIALOGUE_COLUMNS) == DIALOGUES.names
