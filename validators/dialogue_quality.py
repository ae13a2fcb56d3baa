# SPDX-License-Identifier: Apache-2.0
"""The figures of dialogues: what was kept of what, where dialogues fell, how far they kept to their trajectory."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from validators.agreement import rate_of
from validators.dialogue_records import PlannedDialogue


def dialogue_quality(
    planned: Sequence[PlannedDialogue], kept: pd.DataFrame, rejected: pd.DataFrame, counts: Mapping[str, int]
) -> dict[str, Any]:
    """Gather the figures of dialogues as plain JSON, None where one is undefined.

    `kept` and `rejected` are tables as in dialogue_schemas.py and schemas.py, `counts` what the shards counted of all
    turns that were written, of rejected dialogues too.

    keep_rate           over all, from stories and from domains, by domain, pair of writers and number of turns
    fell_at             rejected dialogues by where they fell and why
    turns               by position: dialogues that came so far and that fell there; of the turns that passed the rules
                        there, how many were realised at first and in the end
    emotions, writers   the same of turns by emotion and by writer
    realised_at_first, realised       of all turns
    realised_in_dialogue              kept turns whose intended label the reader ranks first after the turns before it
    adherence           of the kept dialogues: mean, and least
    trajectories        of the kept dialogues: turns by emotion, emotions that occur, and how often a speaker feels
                        what they felt at their last turn
    judge               how judge and rules agree: counts, Cohen's kappa, and the mean answers over the kept ones
    """
    ids = set(kept["dialogue_id"])

    def keep_rate(of: Callable[[PlannedDialogue], bool]) -> dict[str, float] | None:
        rows = [row.dialogue_id in ids for row in planned if of(row)]
        return rate_of(sum(rows), len(rows))

    def by(key: Callable[[PlannedDialogue], str | None]) -> dict[str, Any]:
        names = sorted({name for row in planned if (name := key(row)) is not None}, key=lambda name: (len(name), name))
        return {name: keep_rate(lambda row, name=name: key(row) == name) for name in names}  # type: ignore[misc]

    turns = [turn for row in kept["turns"] for turn in row]
    return {
        "rows": {"planned": len(planned), "kept": len(kept), "rejected": len(rejected)},
        "keep_rate": {
            "all": keep_rate(lambda row: True),
            "from_stories": keep_rate(lambda row: row.utterance_id is not None),
            "from_domains": keep_rate(lambda row: row.utterance_id is None),
            "by_domain": by(lambda row: row.domain),
            "by_writers": by(lambda row: " + ".join(row.writers)),
            "by_turns": by(lambda row: str(len(row.trajectory))),
        },
        "fell_at": [
            {"stage": stage, "reason": reason, "dialogues": n}
            for (stage, reason), n in sorted(Counter(zip(rejected["stage"], rejected["reason"], strict=True)).items())
        ],
        "turns": _positions(planned, rejected, counts),
        "emotions": _turn_rates(counts, "emotion"),
        "writers": _turn_rates(counts, "writer"),
        **_all_turns(counts),
        "realised_in_dialogue": _first_in_dialogue(turns),
        "adherence": _adherence(kept),
        "trajectories": _trajectories(kept),
        "judge": _judge(kept, counts),
    }


def _turn_rates(counts: Mapping[str, int], kind: str) -> dict[str, Any]:
    names = sorted({key.split("/")[1] for key in counts if key.startswith(f"{kind}/")}, key=lambda one: (len(one), one))
    return {name: _rates(counts, f"{kind}/{name}") for name in names}


def _rates(counts: Mapping[str, int], place: str) -> dict[str, Any]:
    written = counts.get(f"{place}/written", 0)
    return {
        "written": written,
        "realised_at_first": rate_of(counts.get(f"{place}/first", 0), written),
        "realised": rate_of(counts.get(f"{place}/realised", 0), written),
    }


def _all_turns(counts: Mapping[str, int]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for key, count in counts.items():
        if key.startswith("turn/"):
            totals[key.rsplit("/", 1)[1]] += count
    return {
        "realised_at_first": rate_of(totals["first"], totals["written"]),
        "realised": rate_of(totals["realised"], totals["written"]),
    }


def _positions(planned: Sequence[PlannedDialogue], rejected: pd.DataFrame, counts: Mapping[str, int]) -> dict[str, Any]:
    """Turn positions: how many dialogues came so far, how many fell there, and how well their turns were realised."""
    stages = dict(zip(rejected["planned_id"].astype(str), rejected["stage"].astype(str), strict=True))
    came: Counter[int] = Counter()
    fell: Counter[int] = Counter()
    for row in planned:
        stage = stages.get(row.dialogue_id, "")
        last = len(row.trajectory) - 1
        if stage == "premise":
            continue
        if stage.startswith("turn_"):
            last = int(stage.removeprefix("turn_"))
            fell[last] += 1
        came.update(range(last + 1))
    return {
        str(number): {"came": came[number], "fell": fell[number], **_rates(counts, f"turn/{number}")}
        for number in sorted(came)
    }


def _first_in_dialogue(turns: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    read = [turn for turn in turns if turn["perceived_in_dialogue"] is not None and turn["turn"] > 0]
    found = [
        len(turn["perceived_in_dialogue"]) > 0
        and turn["perceived_in_dialogue"][0]["label"] == turn["intended"]["label"]
        for turn in read
    ]
    return rate_of(sum(found), len(found))


def _adherence(kept: pd.DataFrame) -> dict[str, float] | None:
    values = kept["adherence"].dropna().astype(float)
    return {"mean": float(values.mean()), "least": float(values.min())} if len(values) else None


def _trajectories(kept: pd.DataFrame) -> dict[str, Any]:
    labels: Counter[str] = Counter()
    same = of = 0
    for row in kept["trajectory"]:
        last: dict[int, str] = {}
        for turn in row:
            labels[turn["label"]] += 1
            before = last.get(turn["speaker"])
            of += before is not None
            same += before == turn["label"]
            last[turn["speaker"]] = turn["label"]
    return {"emotions": dict(sorted(labels.items())), "occur": len(labels), "persistence": rate_of(same, of)}


def _judge(kept: pd.DataFrame, counts: Mapping[str, int]) -> dict[str, Any] | None:
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    table = {
        f"judge_{said}_rules_{rules}": counts.get(f"judge/{said}/rules/{rules}", 0)
        for said in ("yes", "no")
        for rules in ("yes", "no")
    }
    if not sum(table.values()):
        return None
    judge, rules = ([key.split("_")[place] for key, n in table.items() for _ in range(n)] for place in (1, 3))
    # of one answer alone there is no chance agreement to correct for
    kappa = float(cohen_kappa_score(judge, rules)) if len(set(judge)) > 1 and len(set(rules)) > 1 else None
    answers = [row for row in kept["judged"] if row is not None]
    means = {name: float(np.mean([row[name] for row in answers])) for name in answers[0]} if answers else None
    return {"counts": table, "kappa": kappa, "mean_answers": means}
