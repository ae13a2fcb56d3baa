# SPDX-License-Identifier: Apache-2.0
"""The reader of a recipe: who reads the rows blind."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flows.roles import Weights, Writer
from validators.problems import Place, ProblemsError
from validators.records import Record, Text

ReaderBackend = Literal["head", "chat", "classifier", "descriptions", "ensemble", "echo", "none"]

# which keys belong to which backend
KEYS = {
    "path": ("head", "ensemble"),
    "weights": ("classifier",),
    "label_map": ("classifier",),
    "chat": ("chat",),
    "members": ("ensemble",),
}


class Reader(Record):
    """A blind reader. Without one (`none`) every row that passes the rules is kept, and nothing is known of its label.

    head: trained by `affectory train-reader`, in the folder `path`; chat: a Chat model, the writer's where `chat` names
    none; classifier: sequence-classification weights; descriptions: zero-shot, on the encoder; ensemble: several of
    them; echo: scores made from the text's hash, for tests.
    """

    backend: ReaderBackend
    path: Text | None = None
    weights: Weights | None = None
    label_map: Text | None = None
    chat: Writer | None = None
    members: Annotated[tuple["Reader", ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        problems: list[tuple[Place, str]] = [
            ((key,), f"only belongs to the {' or '.join(backends)} reader: remove it, or change the backend")
            for key, backends in KEYS.items()
            if getattr(self, key) is not None and self.backend not in backends
        ]
        if self.backend == "head" and self.path is None:
            problems.append((("path",), "is missing: name the folder that `affectory train-reader` made"))
        if self.backend == "classifier" and self.weights is None:
            problems.append((("weights",), "is missing: the classifier needs a path or hub"))
        if self.backend == "ensemble":
            members = self.members or ()
            if len(members) < 2:
                problems.append((("members",), "needs at least two readers"))
            if any(member.backend in {"ensemble", "none"} for member in members):
                problems.append((("members",), "an ensemble holds neither another ensemble nor none: remove it"))
        if problems:
            raise ProblemsError(problems)
        return self


def default_reader() -> Reader:
    """The reader of a recipe that names none: it needs no labelled data."""
    return Reader(backend="ensemble", members=(Reader(backend="descriptions"), Reader(backend="chat")))
