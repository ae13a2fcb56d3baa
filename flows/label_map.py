# SPDX-License-Identifier: Apache-2.0
"""How the labels of other people's data are called here: a YAML file of 'theirs: ours'."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.strict_yaml import read_document
from validators.errors import InputError
from validators.problems import Place, did_you_mean

SHOWN = 5
"""Unknown labels named in an error; more would hide the rest of it."""


class LabelMap:
    """Translates labels, and remembers those that it does not know, so that all are told at once."""

    def __init__(self, labels: Sequence[str], ours: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._labels = tuple(labels)
        self._ours: dict[str, tuple[str, ...]] = {label: (label,) for label in labels} | dict(ours or {})
        self._unknown: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def knows(self, theirs: str) -> bool:
        """Whether a name is a label of the taxonomy or of the map."""
        return theirs in self._ours

    def translate(self, theirs: Mapping[str, float], where: str) -> dict[str, float]:
        """Turn their labels and weights into ours; of several that become one label the highest weight holds."""
        ours: dict[str, float] = {}
        for name, weight in theirs.items():
            if name not in self._ours:
                self._unknown[name] += 1
                self._first.setdefault(name, where)
            for label in self._ours.get(name, ()):
                ours[label] = max(weight, ours.get(label, 0.0))
        return ours

    def refuse_unknown(self, name: str) -> None:
        """Raise InputError where labels were met that neither the taxonomy nor the map knows."""
        if not self._unknown:
            return
        told = [
            f"'{label}' ({count} rows, first in {self._first[label]}). {did_you_mean(label, self._labels)}"
            for label, count in self._unknown.most_common(SHOWN)
        ]
        more = f"\n  and {len(self._unknown) - SHOWN} more" if len(self._unknown) > SHOWN else ""
        raise InputError(
            "\n  ".join([f"{name} has labels that the taxonomy does not have:", *told]) + more,
            where=name,
            next_step="Correct them, or give a label map (YAML) of 'theirs: ours', 'theirs: null' to leave one out.",
        )


def read_label_map(path: Path | None, labels: Sequence[str]) -> LabelMap:
    """Read a label map; without a file labels are called the same. Raises InputError with the lines in question."""
    if path is None:
        return LabelMap(labels)
    document = read_document(path)
    problems: list[tuple[Place, str]] = list(document.problems)
    ours: dict[str, tuple[str, ...]] = {}
    for theirs, value in document.data.items():
        names = value if isinstance(value, list) else [] if value is None else [value]
        for name in names:
            if not isinstance(name, str) or name not in labels:
                hint = did_you_mean(str(name), labels)
                problems.append(((theirs,), f"'{name}' is not a label of the taxonomy. {hint}"))
        ours[theirs] = tuple(str(name) for name in names)
    if problems:
        raise document.error(problems)
    return LabelMap(labels, ours)
