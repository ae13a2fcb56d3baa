# SPDX-License-Identifier: Apache-2.0
"""How the requests of a backend that ended are told so."""

from validators.errors import DeferredError, ModelError


def copy_error(error: ModelError) -> ModelError:
    """Copy an error for one more future: one that is raised in many threads would collect all their tracebacks."""
    return type(error)(error.what, where=error.where, next_step=error.next_step)


def closed_error() -> DeferredError:
    """Make the error of requests that were dropped: their rows stay open."""
    return DeferredError("the chat was closed before it answered")
