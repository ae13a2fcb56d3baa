# SPDX-License-Identifier: Apache-2.0
"""From the reader of a recipe to a running one, and what the run's identity says of it."""

from collections.abc import Callable
from dataclasses import dataclass

from flows.reader_role import Reader as ReaderRole
from generators.chat import Chat
from generators.readers.echo import EchoReader
from validators.errors import InputError
from validators.roles import Encoder, Reader
from validators.taxonomy import Taxonomy


@dataclass(frozen=True)
class ReaderNeeds:
    """What readers are made of: the taxonomy, the writer's Chat, and the encoder, opened only if one needs it."""

    taxonomy: Taxonomy
    chat: Chat
    open_encoder: Callable[[], Encoder]


def open_reader(role: ReaderRole, needs: ReaderNeeds) -> Reader:
    """Open the reader of a recipe."""
    if role.backend == "echo":
        return EchoReader(needs.taxonomy.names)
    raise InputError(f"reader '{role.backend}' is not there yet")
