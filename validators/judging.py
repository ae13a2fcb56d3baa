# SPDX-License-Identifier: Apache-2.0
"""How gates are asked: in turn, until one rejects; a gate that fails is a bug, told with its name and the row."""

from collections.abc import Callable, Iterable

from validators.errors import AffectoryError, BrokenGateError
from validators.verdicts import ACCEPTED, Verdict

Gate = Callable[[str], Verdict]


def judge(text: str, gates: Iterable[Gate], *, where: str = "") -> Verdict:
    """Ask the gates in turn; the first that rejects decides. Raises `BrokenGateError`, naming the row by `where`."""
    for gate in gates:
        try:
            verdict = gate(text)
        except AffectoryError:
            raise  # a gate may ask a model, which has failures of its own
        except Exception as error:
            raise _broken(gate, error, where) from error
        if not verdict.accepted:
            return verdict
    return ACCEPTED


def gate_name(gate: Gate) -> str:
    """Name a gate by its function, also where its limits are bound to it already."""
    return str(getattr(getattr(gate, "func", gate), "__name__", type(gate).__name__))


def _broken(gate: Gate, error: Exception, where: str) -> BrokenGateError:
    """Say which gate failed, where in it and at which row; never the text, which may be anything."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" ({last.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {last.tb_lineno})" if last else ""
    return BrokenGateError(
        f"the gate {gate_name(gate)} failed with {type(error).__name__} instead of a verdict",
        where=f"{where or 'a text'}{place}",
        next_step="this is a bug of the gate; nothing of this shard was written, and what was answered is stored",
    )
