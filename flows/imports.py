# SPDX-License-Identifier: Apache-2.0
"""Read large modules quickly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Import without the garbage collector, and never have it look at what was imported.

    Modules make hundreds of thousands of objects that stay, among which it searches again and again: a quarter of the
    time that Prefect's take.
    """
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.freeze()
            gc.enable()
