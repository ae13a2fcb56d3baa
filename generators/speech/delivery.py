# SPDX-License-Identifier: Apache-2.0
"""From a label and its intensity to how a clip is to be said.

One smooth map from three coordinates (valence, arousal, dominance; Russell and Mehrabian 1977) to the controls of a
`Delivery`, fitted to a handful of anchors that were rendered and measured. DeepDialogue squeezes its 20 emotions into
the 8 voices of a corpus of actors, so that a disappointed line is said in disgust; a map has no such holes, and
neighbours sound alike.

The map is the mean of a Gaussian process (Rasmussen and Williams 2006, section 2.2) with a linear kernel, which says
what holds everywhere (arousal is high and fast), and a local one, which lets it pass close by each anchor: a linear map
alone made sadness half as low and slow as its anchor, and contentment much like it. It is 0 where no feeling is.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from ruamel.yaml import YAML

from generators.shares import stable_hash
from validators.records import Intensity, Record
from validators.speech_records import Delivery
from validators.taxonomy import Label

CONTROLS = tuple(Delivery.model_fields)
COORDINATES = ("valence", "arousal", "dominance")
BOUNDS = {
    name: (float(field.metadata[0].ge), float(field.metadata[1].le)) for name, field in Delivery.model_fields.items()
}
"""The range of each control, as the record says."""

STEPS = {
    "pitch_st": 0.8,
    "range_oct": 0.15,
    "rate_oct": 0.06,
    "energy": 0.2,
    "tilt_db": 1.0,
    "gain_db": 1.0,
    "pause_oct": 0.15,
    "breath": 0.08,
}
"""How far a further take may stray from what was asked: about one just noticeable difference of each control."""

Floats = NDArray[np.float64]
HASH_SPACE = float(2**63)


class Anchor(Delivery):
    """A delivery that was measured, and where its feeling lies."""

    valence: Annotated[float, Field(ge=-1, le=1)]
    arousal: Annotated[float, Field(ge=0, le=1)]
    dominance: Annotated[float, Field(ge=-1, le=1)]


class DeliveryTable(Record):
    """The data behind the map; see delivery.yaml."""

    neutral: dict[str, float]
    intensities: dict[int, float]
    dominance: dict[str, Annotated[float, Field(ge=-1, le=1)]]
    anchors: dict[str, Anchor]
    reach: Annotated[float, Field(gt=0)]
    noise: Annotated[float, Field(gt=0)]
    overrides: dict[str, dict[str, float]]


class DeliveryMap:
    """Gives every label of any taxonomy a delivery."""

    def __init__(self, table: DeliveryTable) -> None:
        self._table = table
        self._neutral = np.array([table.neutral[name] for name in COORDINATES])
        anchors = list(table.anchors.values())
        self._places: Floats = (
            np.array([[getattr(one, name) for name in COORDINATES] for one in anchors]) - self._neutral
        )
        wanted = np.array([[getattr(one, name) for name in CONTROLS] for one in anchors])
        covariance = self._covary(self._places) + table.noise * np.eye(len(anchors))
        self._weights: Floats = np.linalg.solve(covariance, wanted)

    def deliver(self, label: Label, intensity: Intensity | None) -> Delivery:
        """Say how a label sounds; None is the label without a feeling, which sounds as the voice does by itself."""
        if intensity is None:
            return Delivery()
        known = label.canonical or label.name
        place = np.array([label.valence, label.arousal, self._table.dominance.get(known, 0.0)]) - self._neutral
        override = self._table.overrides.get(known, {})
        controls = (self._covary(place[None]) @ self._weights)[0]
        controls += np.array([override.get(name, 0.0) for name in CONTROLS])
        return bounded(dict(zip(CONTROLS, controls * self._table.intensities[intensity], strict=True)))

    def strength(self, intensity: Intensity) -> float:
        """The share of a strong delivery that an intensity has."""
        return self._table.intensities[intensity]

    def _covary(self, places: Floats) -> Floats:
        """Covariance of places, shape (n, 3), with the anchors, shape (n, anchors).

        The local kernel is that of a process known to be 0 at the origin: no feeling is no difference from neutral.
        """
        origin = np.zeros((1, len(COORDINATES)))
        local = self._near(places, self._places) - self._near(places, origin) @ self._near(origin, self._places)
        return places @ self._places.T + local

    def _near(self, one: Floats, other: Floats) -> Floats:
        squares = ((one[:, None] - other[None]) ** 2).sum(axis=-1)
        near: Floats = np.exp(-squares / (2 * self._table.reach**2))
        return near


@cache
def builtin_map() -> DeliveryMap:
    """The map that comes with the package."""
    text = (files("generators.speech") / "delivery.yaml").read_text(encoding="utf-8")
    data: Any = YAML(typ="safe", pure=True).load(text)
    return DeliveryMap(DeliveryTable.model_validate(data, strict=False))


def vary(delivery: Delivery, take: int, *, seed: int) -> Delivery:
    """The delivery of a further take: each control that is asked for strays by at most its step; take 0 is as asked.

    A neutral delivery stays neutral: what is not asked for does not stray.
    """
    if take == 0:
        return delivery
    asked = delivery.model_dump()
    return bounded(
        {name: value + (STEPS[name] * _between(seed, take, name) if value else 0.0) for name, value in asked.items()}
    )


def bounded(controls: Mapping[str, float]) -> Delivery:
    """A delivery of controls, each held within its bounds and rounded, so that it is the same on every machine."""
    return Delivery(
        **{name: round(min(max(float(value), BOUNDS[name][0]), BOUNDS[name][1]), 4) for name, value in controls.items()}
    )


def _between(*salt: object) -> float:
    """A number from -1 to 1 made from a hash."""
    return 2 * (stable_hash(*salt) % 2**63) / HASH_SPACE - 1
