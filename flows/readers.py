# SPDX-License-Identifier: Apache-2.0
"""From the reader of a recipe to a running one, and what the run's identity says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.reader_role import Reader as ReaderRole
from flows.strict_yaml import read_document
from flows.weights import ResolvedWeights
from generators.chat import Chat
from generators.prompts import READING_PROMPTS, load_prompt
from generators.readers.echo import EchoReader
from validators.errors import InputError
from validators.roles import Encoder, Reader
from validators.taxonomy import Taxonomy


@dataclass(frozen=True)
class ReaderParts:
    """A reader of the recipe with what was found for it before the run began: checked, and not opened yet."""

    role: ReaderRole
    version: str
    """What decides its scores, beyond what the recipe says: hash of a trained head, revision of weights, prompt."""
    folder: Path | None = None
    weights: ResolvedWeights | None = None
    label_map: dict[str, str | None] | None = None
    chat: Chat | None = None
    members: tuple["ReaderParts", ...] = ()


@dataclass(frozen=True)
class ReaderNeeds:
    """What a run lends its readers: the taxonomy, the writer's Chat, and the encoder, opened only if one needs it."""

    taxonomy: Taxonomy
    chat: Chat
    open_encoder: Callable[[], Encoder]


@dataclass(frozen=True)
class ReaderSources:
    """Where the parts of readers are found."""

    resolve_path: Callable[[str], Path]
    resolve_weights: Callable[[ReaderRole], ResolvedWeights | None]
    open_late: Callable[[ReaderRole], Chat | None]
    """The Chat of a reader that names one of its own."""
    writer: str
    encoder: str


def find_parts(role: ReaderRole, sources: ReaderSources) -> ReaderParts:
    """Find what a reader is made of; whatever is missing is told before any work begins."""
    if role.backend == "ensemble":
        members = tuple(find_parts(member, sources) for member in role.members or ())
        version = " + ".join(member.version for member in members)
        if role.path is None:
            return ReaderParts(role, version, members=members)
        from flows.measured_reader import weights_sha256

        folder = sources.resolve_path(role.path)
        return ReaderParts(role, f"{version} as {weights_sha256(folder)}", folder=folder, members=members)
    if role.backend == "head":
        from flows.readers_store import reader_sha256

        folder = sources.resolve_path(role.path or "")
        return ReaderParts(role, f"head:{reader_sha256(folder)}", folder=folder)
    if role.backend == "classifier":
        weights = sources.resolve_weights(role)
        if weights is None:
            raise InputError("the classifier needs weights", next_step="name a path or hub in reader.weights")
        label_map = read_model_labels(sources.resolve_path(role.label_map)) if role.label_map else {}
        return ReaderParts(role, f"{weights.name}@{weights.revision}", weights=weights, label_map=label_map)
    if role.backend == "chat":
        chat = sources.open_late(role)
        prompts = "".join(load_prompt(name).sha256[:8] for name in READING_PROMPTS)
        return ReaderParts(role, f"chat:{chat.model if chat else sources.writer}#{prompts}", chat=chat)
    of_encoder = {"descriptions": f"descriptions:{sources.encoder}"}
    return ReaderParts(role, of_encoder.get(role.backend, role.backend))


def open_reader(parts: ReaderParts, needs: ReaderNeeds) -> Reader:
    """Open a reader."""
    if parts.role.backend == "echo":
        return EchoReader(needs.taxonomy.names)
    if parts.role.backend == "descriptions":
        from generators.readers.descriptions import DescriptionsReader

        return DescriptionsReader(needs.open_encoder(), needs.taxonomy)
    if parts.role.backend == "chat":
        from generators.readers.chat import ChatReader

        return ChatReader(parts.chat or needs.chat, needs.taxonomy)
    if parts.role.backend == "head":
        from flows.readers_store import load_reader

        return load_reader(_folder(parts), needs.taxonomy, needs.open_encoder())
    if parts.role.backend == "classifier":
        return _open_classifier(parts, needs)
    if parts.role.backend == "ensemble":
        return _open_ensemble(parts, needs)
    raise ValueError(f"no reader is to be opened for {parts.role.backend!r}")


def open_members(parts: ReaderParts, needs: ReaderNeeds) -> list[Reader]:
    """Open the readers of an ensemble, or the one that a reader is, each by itself."""
    return [open_reader(member, needs) for member in parts.members or (parts,)]


def _open_ensemble(parts: ReaderParts, needs: ReaderNeeds) -> Reader:
    from generators.readers.ensemble import EnsembleReader

    members = open_members(parts, needs)
    if parts.folder is None:
        return EnsembleReader(members)
    from flows.measured_reader import load_blend

    return EnsembleReader(members, load_blend(parts.folder, needs.taxonomy, [member.model for member in members]))


def _open_classifier(parts: ReaderParts, needs: ReaderNeeds) -> Reader:
    from generators.backends.classifier import ClassifierSettings, open_classifier

    if parts.weights is None:
        raise ValueError("a classifier without weights was not refused")
    settings = ClassifierSettings(
        name=parts.weights.name,
        weights=parts.weights.path,
        revision=parts.weights.revision,
        label_map=parts.label_map or {},
    )
    return open_classifier(settings, needs.taxonomy.names)


def _folder(parts: ReaderParts) -> Path:
    if parts.folder is None:
        raise ValueError("a head without a folder was not refused")
    return parts.folder


def read_model_labels(path: Path) -> dict[str, str | None]:
    """Read the label map of a model: its label, or null, for a label of the taxonomy."""
    label_map: dict[str, str | None] = {}
    for label, theirs in read_document(path).data.items():
        if theirs is not None and not isinstance(theirs, str):
            raise InputError(
                f"the label map gives no label for {label!r}",
                where=str(path),
                next_step="write `label of the taxonomy: label of the model`, or null where the model has none",
            )
        label_map[label] = theirs
    return label_map
