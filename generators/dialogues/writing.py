# SPDX-License-Identifier: Apache-2.0
"""How one dialogue is written: premise, turns one after the other, judgement."""

import math
from dataclasses import dataclass

from generators.conversations import Conversation
from generators.dialogues.judging import judge
from generators.dialogues.premises import write_premise
from generators.dialogues.scenes import DialogueScene, WrittenDialogue, lines_of
from generators.dialogues.turns import opening_turn, write_turn
from generators.draws import NOT_REALISED, READER
from validators.dialogue_records import Judged, Turn
from validators.records import RejectedRow

JUDGE = "judge"
JUDGED_FROM = 2  # turns; below, there is nothing to be coherent


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a dialogue.

    `judged` is there for one that the rules rejected too, so that judge and rules can be compared.
    """

    row: WrittenDialogue | RejectedRow
    judged: Judged | None
    turns: tuple[Turn, ...] = ()
    """All that passed the rules, of a rejected dialogue too."""

    @property
    def passed_rules(self) -> bool:
        """Whether rules and reader let it pass; what the judge said of it does not count."""
        return isinstance(self.row, WrittenDialogue) or self.row.gate == JUDGE


def write_dialogue(scene: DialogueScene) -> Conversation[Ended]:
    """Write one dialogue, or say at which turn and by which gate it fell; what was written by then is kept with it."""
    premise = yield from write_premise(scene)
    if isinstance(premise, RejectedRow):
        return Ended(premise, None)
    turns: tuple[Turn, ...] = (opening_turn(scene, premise),) if scene.opening else ()
    n_turns = len(scene.plan.trajectory)
    may_miss = math.floor((1 - scene.settings.adherence) * n_turns + 1e-9)
    rejected: RejectedRow | None = None
    while rejected is None and len(turns) < n_turns:
        turn = yield from write_turn(scene, premise, turns)
        if isinstance(turn, RejectedRow):
            rejected = turn.model_copy(update={"reply": _so_far(scene, turns, turn.reply)})
            break
        turns = (*turns, turn)
        missed = sum(turn.realised is False for turn in turns)
        if missed > may_miss:
            what = f"{missed} of {n_turns} turns missed"
            rejected = _rejected(scene, turns, gate=READER, reason=NOT_REALISED, detail=what)
    judged = (yield from judge(scene, premise, turns)) if len(turns) >= JUDGED_FROM else None
    if rejected is None and judged is not None and judged.mean < scene.settings.judged:
        what = f"relevance {judged.relevance:.2f}, consistency {judged.consistency:.2f}, reasons {judged.reasons:.2f}"
        rejected = _rejected(scene, turns, gate=JUDGE, reason="incoherent", detail=what)
    return Ended(rejected or WrittenDialogue(premise, turns, judged), judged, turns)


def _rejected(scene: DialogueScene, turns: tuple[Turn, ...], *, gate: str, reason: str, detail: str) -> RejectedRow:
    return RejectedRow(
        planned_id=scene.plan.dialogue_id,
        stage=JUDGE if gate == JUDGE else f"turn_{len(turns) - 1}",
        gate=gate,
        reason=reason,
        detail=detail,
        label=turns[-1].intended.label,
        attempt=turns[-1].attempts,
        seed=scene.plan.seed,
        reply=_so_far(scene, turns, ""),
    )


def _so_far(scene: DialogueScene, turns: tuple[Turn, ...], reply: str) -> str:
    lines = lines_of(scene.plan.names, tuple(turn.text for turn in turns))
    return "\n".join(part for part in (lines, reply) if part)
