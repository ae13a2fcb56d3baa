# SPDX-License-Identifier: Apache-2.0
"""The rows of a release as a student learns from them: texts, intended labels, and what a reader perceived."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from flows.parquet import read_parquet
from flows.run_identity import DATA, read_identity
from flows.strict_yaml import load_strict
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.taxonomy import Taxonomy, builtin_names, builtin_taxonomy

Split = Literal["all", "train"]

Floats = NDArray[np.float64]
_COLUMNS = ("utterance_id", "text", "intended")


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticRows:
    """Rows of one release, in the order of their ids."""

    name: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    intended: Floats
    """Hard targets: 1 for the intended label of each row, shape (rows, labels)."""
    perceived: Floats | None
    """Soft targets: the reader's scores, 0 where the row stores none; None if not every row was read."""
    no_perceived: str
    """Why `perceived` is None."""
    readers: tuple[str, ...]
    """Who read the rows. A reader trained on people's labels passes on what it learnt from them."""

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Select rows by their positions."""
        picked = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[row] for row in picked),
            texts=tuple(self.texts[row] for row in picked),
            intended=self.intended[picked],
            perceived=None if self.perceived is None else self.perceived[picked],
        )


def release_taxonomy(folder: Path, name: str | None = None) -> Taxonomy:
    """Load the taxonomy of a release: the one named, built-in or a YAML file, or else the one in its run.json."""
    if name is None:
        identity = read_identity(folder)
        if identity is None or "taxonomy" not in identity:
            raise InputError(
                "the release does not say which taxonomy its labels are from",
                where=str(folder),
                next_step=f"Give --taxonomy, one of {', '.join(builtin_names())} or a YAML file.",
            )
        name = str(json.loads(identity["taxonomy"]))
    if name in builtin_names():
        return builtin_taxonomy(name)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"taxonomy {name!r} is neither built in nor a file here. {did_you_mean(name, builtin_names())}",
            where=str(folder),
            next_step="Give --taxonomy with the path of the YAML file that the release was made with.",
        )
    return load_strict(path, Taxonomy)


def read_synthetic(folder: Path, labels: Sequence[str], split: Split = "all") -> SyntheticRows:
    """Read the utterances of a release.

    All splits by default: the test data comes from elsewhere and is checked for copies, so that nothing of the release
    needs to be held out, and a small release needs every row. `train` leaves the release's own validation and test rows
    out, as whoever compares with other work on its splits does. Rows kept as misses (`realised` false) are left out;
    releases of older schemas are read too.
    """
    pattern = f"{DATA}/utterances/{'*' if split == 'all' else 'train-*'}.parquet"
    files = sorted(folder.glob(pattern))
    if not files:
        raise InputError(
            f"there is no {pattern}", where=str(folder), next_step="Name the folder of a finished run or a release."
        )
    # rows that a recipe keeps as misses do not express their label
    rows = [row for file in files for row in _read(file) if row.get("realised") is not False]
    rows.sort(key=lambda row: str(row["utterance_id"]))
    if len(rows) < 2:
        raise InputError(f"the release holds {len(rows)} rows; a student needs at least two", where=str(folder))
    positions = {label: place for place, label in enumerate(labels)}
    read = [row for row in rows if row.get("perceived") is not None]
    no_perceived = "" if len(read) == len(rows) else f"{len(rows) - len(read)} of {len(rows)} rows were not read"
    return SyntheticRows(
        name=folder.resolve().name,
        ids=tuple(str(row["utterance_id"]) for row in rows),
        texts=tuple(str(row["text"]) for row in rows),
        labels=tuple(labels),
        intended=_targets([[(row["intended"]["label"], 1.0)] for row in rows], positions, folder),
        perceived=None
        if no_perceived
        else _targets([[(p["label"], p["score"]) for p in row["perceived"]] for row in rows], positions, folder),
        no_perceived=no_perceived,
        readers=tuple(sorted({str(row["reader"]) for row in rows if row.get("reader")})),
    )


def _read(file: Path) -> list[dict[str, Any]]:
    table = read_parquet(file)
    if missing := [name for name in _COLUMNS if name not in table.schema.names]:
        raise InputError(
            f"the table has no column {', '.join(missing)}", where=str(file), next_step="Name a release of Affectory."
        )
    wanted = [name for name in (*_COLUMNS, "perceived", "reader", "realised") if name in table.schema.names]
    return table.select(wanted).to_pylist()


def _targets(given: Sequence[Sequence[tuple[str, float]]], positions: dict[str, int], folder: Path) -> Floats:
    """Turn labels with scores into an array of shape (rows, labels)."""
    targets = np.zeros((len(given), len(positions)))
    for row, pairs in enumerate(given):
        for label, score in pairs:
            if label not in positions:
                raise InputError(
                    f"label {label!r} of the release is not in the taxonomy. {did_you_mean(label, tuple(positions))}",
                    where=f"{folder}, row {row} in the order of ids",
                    next_step="Give --taxonomy with the one that the release was made with.",
                )
            targets[row, positions[label]] = score
    return targets
