# SPDX-License-Identifier: Apache-2.0
"""Fair shares, splits and seeds: the arithmetic that plans rest on, free of order and chance."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from validators.records import Split

Name = TypeVar("Name", bound=str | int)

SEED_SPACE = 2**31


def share_out(total: int, weights: Mapping[Name, float]) -> dict[Name, int]:
    """Split a total by weights into whole numbers that sum to it (largest remainder; ties by name)."""
    if not weights or not total:
        return dict.fromkeys(weights, 0)
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    shares = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in rest[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def spread(total: int, weights: Mapping[Name, float], *, start: float) -> dict[Name, int]:
    """Split a small total by weights into whole numbers that sum to it, each next to its exact share.

    Where rounding goes hangs on `start`, from 0 to 1 (systematic sampling): many small totals, each with another start,
    come to the weights together, where the largest remainder would give every odd row to the same name.
    """
    whole = sum(weights.values())
    shares: dict[Name, int] = {}
    upto = 0.0
    for name, weight in weights.items():
        before, upto = upto, upto + weight
        shares[name] = math.floor(total * upto / whole + start) - math.floor(total * before / whole + start)
    return shares


def assign_splits(
    story_ids: Sequence[str],
    shares: Mapping[Split, float],
    *,
    seed: int,
    settled: Mapping[str, Split] = MappingProxyType({}),
) -> dict[str, Split]:
    """Give each story to one split, so that nothing of a story, its characters or its rows is in two.

    Whole numbers of stories by largest remainder; a split with a share gets at least one story if there are enough.
    A story that is `settled` already stays where it is, and the others make up what its split has too few of.
    """
    stories = sorted(set(story_ids), key=lambda story_id: stable_hash(seed, "split", story_id))
    known = {story_id: settled[story_id] for story_id in stories if story_id in settled}
    order = [story_id for story_id in stories if story_id not in known]
    wanted = {split: share for split, share in shares.items() if share > 0}
    counts = share_out(len(stories), wanted)
    if len(stories) >= len(wanted):
        for split in counts:
            if counts[split] == 0:
                counts[max(counts, key=lambda name: counts[name])] -= 1
                counts[split] = 1
    there = Counter(known.values())
    counts = share_out(len(order), {split: max(0, count - there[split]) for split, count in counts.items()})
    splits = [split for split, count in counts.items() for _ in range(count)]
    return {**known, **dict(zip(order, splits, strict=True))}


def row_seed(run_seed: int, row_id: str) -> int:
    """The seed of one row: from the run's seed and the row's id, whatever the order of work."""
    return stable_hash(run_seed, "row", row_id) % SEED_SPACE


def stable_hash(*parts: object) -> int:
    """Hash parts to a number that is the same in every process."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")
