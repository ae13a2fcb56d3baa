# SPDX-License-Identifier: Apache-2.0
"""What is rated: items of a release, sampled evenly over its labels, and the order in which one rater meets them.

An `Item` knows the intention; `shown` is all of it that ever leaves for a rater.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow.parquet as pq

from flows.manifest import verify_release
from flows.parquet import read_parquet
from flows.run_identity import DATA
from flows.sealed import sha256_of
from validators.errors import InputError
from validators.taxonomy import Label, Taxonomy

Kind = Literal["text", "dialogue", "audio"]
Presentation = Literal["first", "again", "check"]

CONFIGS: Final[Mapping[Kind, str]] = {"text": "utterances", "dialogue": "dialogues", "audio": "clips"}
REPEATED: Final = 0.1
"""Share of the items that a rater meets once more."""
CHECKS: Final = 0.05
"""Checks, as a share of the items; at least one."""
MAX_CLIPS_HELD: Final = 64  # a clip is some hundred kilobytes


@dataclass(frozen=True, slots=True)
class Item:
    """A row, or a turn of one, that people are asked about."""

    item_id: str
    turn: int | None
    shown: Mapping[str, Any]
    """What a rater sees; for sound the hash of its bytes, which go their own way."""
    intended_label: str
    perceived_label: str | None

    @property
    def sha256(self) -> str:
        """Hash of what is shown, so that an answer is never taken for one to another content."""
        return sha256_of(self.shown)


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a rater's order: an item, or a check with the label that it asks for."""

    presentation: Presentation
    item_id: str | None
    turn: int | None
    item_sha256: str
    asked_label: str | None


class Items:
    """All items of one kind in a release that is whole."""

    def __init__(self, root: Path, kind: Kind) -> None:
        if problems := verify_release(root):
            raise InputError(
                f"{root} is no finished release: {problems[0]}",
                where=str(root),
                next_step="build it first, or build again",
            )
        self.kind = kind
        self._paths = sorted((root / DATA / CONFIGS[kind]).glob("*.parquet"))
        if not self._paths:
            there = [name for name, config in CONFIGS.items() if any((root / DATA / config).glob("*.parquet"))]
            raise InputError(
                f"the release holds no {CONFIGS[kind]}, so there is nothing of kind {kind} to rate",
                where=str(root),
                next_step=f"rate another kind: --kind {' or '.join(there)}",
            )
        self._sounds: dict[str, tuple[Path, int, int]] = {}
        read = {"text": self._texts, "dialogue": self._turns, "audio": self._clips}[kind]
        self._items = {(item.item_id, item.turn): item for item in read()}
        self.sound = lru_cache(MAX_CLIPS_HELD)(self._sound)

    def sample(self, count: int, seed: int) -> list[Item]:
        """So many items, evenly over the intended labels; the same for the same release and seed."""
        chance = random.Random(f"items {seed}")  # noqa: S311  (a sample, not a secret)
        by_label: dict[str, list[Item]] = defaultdict(list)
        for key in sorted(self._items, key=lambda key: (key[0], key[1] or 0)):
            by_label[self._items[key].intended_label].append(self._items[key])
        labels = sorted(by_label)
        chance.shuffle(labels)
        for label in labels:
            chance.shuffle(by_label[label])
        longest = max(map(len, by_label.values()))
        even = [by_label[label][n] for n in range(longest) for label in labels if n < len(by_label[label])]
        return even[:count]

    def find(self, item_id: str | None, turn: int | None, sha256: str) -> Item | None:
        """An item as it was shown; None where the release holds it no longer, or with another content."""
        item = self._items.get((item_id or "", turn))
        return item if item is not None and self._content(item) == sha256 else None

    def place(self, item: Item, presentation: Presentation) -> Place:
        """An item in a rater's order."""
        return Place(presentation, item.item_id, item.turn, self._content(item), None)

    def _content(self, item: Item) -> str:
        return item.sha256 if self.kind != "audio" else sha256_of(self.sound(item.item_id).hex())

    def _rows(self, *columns: str) -> list[dict[str, Any]]:
        return [row for path in self._paths for row in read_parquet(path).select(list(columns)).to_pylist()]

    def _texts(self) -> list[Item]:
        rows = self._rows("utterance_id", "text", "intended", "perceived")
        return [
            Item(row["utterance_id"], None, {"text": row["text"]}, row["intended"]["label"], _first(row["perceived"]))
            for row in rows
        ]

    def _turns(self) -> list[Item]:
        return [
            Item(
                row["dialogue_id"],
                turn["turn"],
                {"turns": [_line(row, one) for one in row["turns"][: place + 1]]},
                turn["intended"]["label"],
                _first(turn["perceived_in_dialogue"] or turn["perceived"]),
            )
            for row in self._rows("dialogue_id", "speakers", "turns")
            for place, turn in enumerate(row["turns"])
        ]

    def _clips(self) -> list[Item]:
        items = []
        for path in self._paths:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, columns=["clip_id", "intended", "perceived"]).to_pylist()
                    for number, row in enumerate(rows):
                        self._sounds[row["clip_id"]] = (path, group, number)
                        label = row["intended"]["label"]
                        items.append(Item(row["clip_id"], None, {}, label, _first(row["perceived"])))
        return items

    def _sound(self, clip_id: str) -> bytes:
        """The FLAC file of a clip, of which a row group is read at a time: all of a release do not fit in memory."""
        path, group, number = self._sounds[clip_id]
        with pq.ParquetFile(path) as file:
            audio = file.read_row_group(group, columns=["audio"]).column("audio")
        return bytes(audio[number].as_py()["bytes"])


def order_for(rater: str, sampled: Sequence[Place], taxonomy: Taxonomy, seed: int) -> list[Place]:
    """One rater's order: the items shuffled, some of the first half again in the second, checks in between."""
    chance = random.Random(f"order {seed} {rater}")  # noqa: S311  (an order, not a secret)
    order = list(sampled)
    chance.shuffle(order)
    half = len(order) // 2
    again = chance.sample(order[:half], min(half, max(1, round(REPEATED * len(order)))))
    for one in again:
        # one place after the first half at least, so that another item lies between
        repeated = Place("again", one.item_id, one.turn, one.item_sha256, None)
        order.insert(chance.randint(half + 1, len(order)), repeated)
    for label in chance.choices(choices_of(taxonomy), k=max(1, round(CHECKS * len(sampled)))):
        order.insert(chance.randint(1, len(order)), _check(label))
    return order


def choices_of(taxonomy: Taxonomy) -> list[Label]:
    """The labels that raters choose from. Neutral is none of them: it is what the answer "none" says."""
    return [label for label in taxonomy.labels if label.name != taxonomy.neutral]


def check_text(label: Label) -> str:
    """A check as a rater reads it."""
    return f"This is a check, not an item to rate. Choose {label.title.lower()}, mild, and nothing else."


def _check(label: Label) -> Place:
    return Place("check", None, None, sha256_of({"check": check_text(label)}), label.name)


def _line(row: Mapping[str, Any], turn: Mapping[str, Any]) -> dict[str, str]:
    return {"speaker": row["speakers"][turn["speaker"]]["name"], "text": turn["text"]}


def _first(perceived: Sequence[Mapping[str, Any]] | None) -> str | None:
    return perceived[0]["label"] if perceived else None
