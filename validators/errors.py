# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and the exit code each kind ends with.

AffectoryError
├── InputError          2   a recipe, taxonomy, story or folder that cannot be used
│   └── RecipeMismatchError the folder was made by another recipe
├── GateError           1   the rows were made but must not pass as a dataset
├── BrokenGateError     1   a gate raised where it should have judged: a bug
├── ModelError          3   a model, its weights or its server
│   └── DeferredError       transient: the row stays open and the next run asks again
├── HubError            4   the Hugging Face Hub
└── StorageError        2   the disk: full, read-only, damaged or locked

Expected bad rows are no exceptions: they end as a `Verdict` in the rejected rows.
"""


class AffectoryError(Exception):
    """A failure to tell the user about: what happened, where, and the next step."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __reduce__(self) -> "tuple[object, ...]":
        # a worker's failure is told by another process; `Exception` would call the class without the keywords
        return _restore, (type(self), self.what, self.where, self.next_step)

    def __str__(self) -> str:
        where = f"\n  where: {self.where}" if self.where else ""
        next_step = f"\n  next:  {self.next_step}" if self.next_step else ""
        return f"{self.what}{where}{next_step}"


def _restore(kind: type[AffectoryError], what: str, where: str, next_step: str) -> AffectoryError:
    return kind(what, where=where, next_step=next_step)


class InputError(AffectoryError):
    """A recipe, taxonomy, story or folder that cannot be used as it is."""

    exit_code = 2


class RecipeMismatchError(InputError):
    """The output folder holds a run of another recipe."""


class GateError(AffectoryError):
    """Rows were made, but too few or too bad to pass as a dataset."""

    exit_code = 1


class BrokenGateError(AffectoryError):
    """A gate raised where it should have judged a row: a bug, so the run stops."""

    exit_code = 1


class ModelError(AffectoryError):
    """A model, its weights or its server cannot be used; trying again will not help."""

    exit_code = 3


class DeferredError(ModelError):
    """A model did not answer this time; the row stays open and the next run asks again."""


class HubError(AffectoryError):
    """The Hugging Face Hub refused or could not be reached."""

    exit_code = 4


class StorageError(AffectoryError):
    """The disk is full or read-only, or a file on it is damaged or locked by another run."""

    exit_code = 2
