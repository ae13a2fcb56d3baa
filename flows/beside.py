# SPDX-License-Identifier: Apache-2.0
"""Clips of the kept utterances are made while dialogues are still written, where the machine has room for both."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context

from flows.recipe import Recipe
from flows.roles import Writer
from flows.runs import Run, StoppedError
from validators.errors import DeferredError


def has_room(recipe: Recipe, cores: int) -> bool:
    """Whether workers that speak and engines that write each have cores for themselves, and both have work.

    On a cluster the workers make one stage after the other: they are the machine, and never idle.
    """
    if recipe.speech is None or recipe.dialogues is None or "utterances" not in recipe.speech.of:
        return False
    engines = [recipe.writer, *recipe.dialogues.writers.values()]
    return recipe.runner == "threads" and cores >= recipe.speech.workers + max(1, sum(map(_cores, engines)))


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def beside(run: Run, work: Callable[[], object]) -> Iterator[None]:
    """Do the work in a thread of its own while the body runs, and wait for it.

    If either fails the other stops, and the failure is raised. A body whose rows got no answer lets the work finish.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
        future = pool.submit(copy_context().run, work)  # Prefect knows its flow by the context
        try:
            yield
            future.result()
        except DeferredError:
            raise
        except StoppedError:
            future.result()  # it failed, stopped the run, and says why
            raise
        except BaseException:
            run.stopping.set()
            raise


def _cores(writer: Writer) -> int:
    """The cores that the engine of a writer works on here; a server of somebody's has its own."""
    return 0 if writer.backend in {"openai", "echo"} else writer.threads
