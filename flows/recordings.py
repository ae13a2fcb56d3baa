# SPDX-License-Identifier: Apache-2.0
"""One file for each dialogue: the clips of its turns with natural gaps between them, and where each turn lies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from flows.speech import Spoken
from generators.shares import stable_hash
from generators.speech.audio import TURN_GAPS_S, decode, encode_flac, join_turns
from generators.speech.voices import SAMPLE_RATE
from validators.dialogue_records import Dialogue
from validators.schemas import to_records
from validators.speech_schemas import RECORDINGS

GAP_STEPS = 1_000


def record_dialogues(dialogues: pa.Table, spoken: Spoken, *, seed: int) -> pa.Table:
    """Put the kept clips of each dialogue together, rendering by rendering.

    A dialogue of which a turn has no kept clip has no recording. A turn without a clip of its own in a further
    rendering (neutral has no other intensity) is said as in the first.
    """
    kept: defaultdict[tuple[str, int], dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in spoken.kept.to_pylist():
        if row["dialogue_id"] is not None:
            kept[row["dialogue_id"], row["turn"]][row["rendering"]] = row
    wanted: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for plan in spoken.planned:
        if plan.dialogue_id is not None and plan.turn is not None:
            wanted[plan.dialogue_id, plan.turn].add(plan.rendering)
    rows = []
    for dialogue in to_records(dialogues, Dialogue):
        turns = [(dialogue.dialogue_id, turn.turn) for turn in dialogue.turns]
        for rendering in sorted(set().union(*(wanted[turn] for turn in turns))):
            clips = [kept[turn].get(rendering if rendering in wanted[turn] else 0) for turn in turns]
            whole = [clip for clip in clips if clip is not None]
            if len(whole) == len(turns):
                rows.append(_recording(dialogue, whole, rendering, seed=seed))
    return pa.Table.from_pylist(rows, schema=RECORDINGS)


def _recording(dialogue: Dialogue, clips: Sequence[Mapping[str, Any]], rendering: int, *, seed: int) -> dict[str, Any]:
    gaps_s = [_gap_s(seed, dialogue.dialogue_id, turn.turn) for turn in dialogue.turns[1:]]
    samples, placed = join_turns([decode(clip["audio"]["bytes"]) for clip in clips], gaps_s)
    speakers = [turn.speaker for turn in dialogue.turns]
    of_speaker = dict(zip(speakers, clips, strict=True))
    return {
        "dialogue_id": dialogue.dialogue_id,
        "rendering": rendering,
        "story_id": dialogue.story_id,
        "audio": {"bytes": encode_flac(samples), "path": f"{dialogue.dialogue_id}-{rendering}.flac"},
        "n_samples": len(samples),
        "sample_rate": SAMPLE_RATE,
        "language": dialogue.language,
        "voices": [of_speaker[speaker]["voice"] for speaker in sorted(of_speaker)],
        "voice_licences": [of_speaker[speaker]["voice_licence"] for speaker in sorted(of_speaker)],
        "turns": [
            {
                "turn": turn.turn,
                "speaker": turn.speaker,
                "clip_id": clip["clip_id"],
                "begin_s": place.begin_s,
                "end_s": place.end_s,
            }
            for turn, clip, place in zip(dialogue.turns, clips, placed, strict=True)
        ],
        "split": dialogue.split,
    }


def _gap_s(seed: int, dialogue_id: str, turn: int) -> float:
    """The silence before a turn: the same in every rendering."""
    low, high = TURN_GAPS_S
    return low + (high - low) * (stable_hash(seed, "gap", dialogue_id, str(turn)) % GAP_STEPS) / GAP_STEPS
