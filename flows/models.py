# SPDX-License-Identifier: Apache-2.0
"""From the recipe's roles to running models: weights found, secrets read from the environment, engines opened late."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from platformdirs import user_cache_path
from pydantic import SecretStr

from flows.late_chat import LateChat
from flows.readers import ReaderNeeds, ReaderParts, ReaderSources, find_parts, open_reader, read_model_labels
from flows.recipe import Recipe
from flows.roles import Weights, Writer
from flows.served_chat import ServedChat
from flows.servers import Servers
from flows.speech_role import Speech
from flows.voice_files import find_kokoro_voices, read_references
from flows.weights import ResolvedWeights, WeightsSpec, dequantised, resolve_weights
from generators.backends.classifier import ClassifierSettings
from generators.backends.registry import open_encoder
from generators.chat import Chat, ChatSettings
from generators.encoder import EncoderSettings
from generators.speech.listeners import ListenerSettings
from generators.speech.voices import VoiceSettings
from validators.errors import InputError
from validators.roles import Encoder, Reader
from validators.taxonomy import Taxonomy

NO_LICENCE = "unknown"


def cache_folder() -> Path:
    """Where joined and converted weights are kept: AFFECTORY_CACHE, or the user's cache folder."""
    return Path(os.environ.get("AFFECTORY_CACHE") or user_cache_path("affectory"))


@dataclass(frozen=True)
class LicensedChat:
    """A writer and the licence of its weights."""

    chat: LateChat
    licence: str


@dataclass(frozen=True)
class SpeechModels:
    """The voice and the listener of a run, found and not opened: workers open their own."""

    voice: VoiceSettings
    listener: ListenerSettings
    emotion: ClassifierSettings
    """Of the listener for emotion, where the recipe wants one."""

    @classmethod
    def of(cls, recipe: Recipe, role: Speech) -> Self:
        """Find the weights that speech needs."""
        # Coqui publishes checkpoints of torch alone; they are read as weights, without running their code
        holds = ".pth" if role.voice.backend == "coqui" else ".safetensors"
        voice = _resolve(recipe, role.voice.weights, holds)
        references, references_sha256 = (
            read_references(recipe.resolve(role.voice.references)) if role.voice.references else ({}, "")
        )
        listener = _resolve(recipe, role.listener.weights)
        return cls(
            voice=VoiceSettings(
                name=voice.name if voice else role.voice.backend,
                revision="+".join(filter(None, (voice.revision if voice else "", references_sha256))),
                weights=voice.path if voice else None,
                voices=find_kokoro_voices(cache=cache_folder()) if role.voice.backend == "kokoro" else None,
                references=references,
                licence=role.voice.licence or (voice.licence if voice else ""),
                options=role.voice.options,
            ),
            listener=ListenerSettings(
                name=listener.name if listener else role.listener.backend,
                revision=listener.revision if listener else "",
                weights=listener.path if listener else None,
                options=role.listener.options,
            ),
            emotion=_emotion_settings(recipe, role),
        )


@dataclass(frozen=True)
class Models:
    """The models of a run. Weights are found and checked when this is made, engines open when first used."""

    writer: LateChat
    writer_licence: str
    encoder_backend: str
    encoder_settings: EncoderSettings
    reader: ReaderParts
    others: Mapping[str, "LicensedChat"]
    """The writers of dialogues beside the recipe's own, by their names."""
    speech: SpeechModels | None = None
    servers: Servers = field(default_factory=Servers)

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Find the weights of a recipe; whatever is missing is told before any work begins."""
        encoder = recipe.encoder
        weights = _resolve(recipe, recipe.writer.weights)
        encoder_weights = _resolve(recipe, encoder.weights)
        servers = Servers()
        chat = _late_chat(recipe, "writer", recipe.writer, weights, servers)
        encoder_settings = EncoderSettings(
            name=encoder.name or (encoder_weights.name if encoder_weights else encoder.model_name),
            revision=encoder_weights.revision if encoder_weights else "",
            weights=encoder_weights.path if encoder_weights else None,
            options=encoder.options,
        )
        sources = ReaderSources(
            resolve_path=recipe.resolve,
            resolve_weights=lambda role: _resolve(recipe, role.weights),
            open_late=lambda role: (
                _late_chat(recipe, "reader", role.chat, _resolve(recipe, role.chat.weights), servers)
                if role.chat
                else None
            ),
            writer=chat.model,
            encoder=_name_of(encoder_settings),
        )
        return cls(
            writer=chat,
            writer_licence=_licence(recipe.writer, weights),
            encoder_backend=encoder.backend,
            encoder_settings=encoder_settings,
            reader=find_parts(recipe.reader, sources),
            others={
                name: LicensedChat(_late_chat(recipe, f"dialogues.{name}", role, found, servers), _licence(role, found))
                for name, role in (recipe.dialogues.writers if recipe.dialogues else {}).items()
                for found in [_resolve(recipe, role.weights)]
            },
            speech=SpeechModels.of(recipe, recipe.speech) if recipe.speech else None,
            servers=servers,
        )

    def open_encoder(self) -> Encoder:
        """Open the encoder, once: reader, duplicates and figures share it."""
        return self._encoder

    @cached_property
    def _encoder(self) -> Encoder:
        return open_encoder(self.encoder_backend, self.encoder_settings)

    def open_reader(self, taxonomy: Taxonomy, chat: Chat) -> Reader:
        """Open the blind reader; `chat` is the writer's, with the store in front of it."""
        return open_reader(self.reader, ReaderNeeds(taxonomy, chat, self.open_encoder))

    @property
    def versions(self) -> dict[str, str]:
        """What the run's identity records of the models, beyond what the recipe says."""
        return {
            "writer": self.writer.model,
            "encoder": _name_of(self.encoder_settings),
            "reader": self.reader.version,
            **{f"dialogues.{name}": other.chat.model for name, other in self.others.items()},
            **(
                {
                    "voice": f"{self.speech.voice.name}@{self.speech.voice.revision}",
                    "listener": f"{self.speech.listener.name}@{self.speech.listener.revision}",
                    **({"emotion": self.speech.emotion.model} if self.speech.emotion.name else {}),
                }
                if self.speech
                else {}
            ),
        }

    def close(self) -> None:
        """Close the engines that readers have of their own; the writer's is the run's to close."""
        for parts in (self.reader, *self.reader.members):
            if parts.chat is not None:
                parts.chat.close()


def _emotion_settings(recipe: Recipe, role: Speech) -> ClassifierSettings:
    if role.emotion is None:
        return ClassifierSettings("")
    weights = _resolve(recipe, role.emotion.weights)
    label_map = read_model_labels(recipe.resolve(role.emotion.label_map)) if role.emotion.label_map else {}
    return ClassifierSettings(
        name=weights.name if weights else role.emotion.backend,
        weights=weights.path if weights else None,
        revision=weights.revision if weights else "",
        label_map=label_map,
    )


def _late_chat(recipe: Recipe, name: str, role: Writer, weights: ResolvedWeights | None, servers: Servers) -> LateChat:
    settings = ChatSettings(
        name=role.name or (weights.name if weights else role.model_name),
        revision=weights.revision if weights else "",
        weights=_for_engine(role.backend, weights) if weights else None,
        slots=role.slots,
        context_tokens=role.context_tokens,
        threads=role.threads,
        base_url=role.base_url or "",
        api_key=_read_key(role.api_key_env),
        api_key_env=role.api_key_env or "",
        timeout_s=role.timeout_s,
        options=role.options,
    )
    if role.serve is None:
        return LateChat(role.backend, settings)
    python = recipe.resolve(role.serve.python) if role.serve.python else None
    served = servers.add(name, settings, role.serve, python=python)
    return LateChat(role.backend, settings, lambda: ServedChat(servers, served))


def _for_engine(backend: str, weights: ResolvedWeights) -> Path:
    """What the engine reads; vLLM takes no GGUF file, so for it one is written out as bf16, once."""
    is_gguf = weights.path.suffix == ".gguf"
    return dequantised(weights.path, cache=cache_folder()) if backend == "vllm" and is_gguf else weights.path


def _name_of(encoder: EncoderSettings) -> str:
    return f"{encoder.name}@{encoder.revision}"


def _resolve(recipe: Recipe, weights: Weights | None, holds: str = ".safetensors") -> ResolvedWeights | None:
    if weights is None:
        return None
    return resolve_weights(
        WeightsSpec(
            package=weights.package or "",
            path=recipe.resolve(weights.path) if weights.path else None,
            hub=f"{weights.hub}@{weights.revision}" if weights.hub else "",
            file=weights.file or "",
            holds=holds,
        ),
        cache=cache_folder(),
    )


def _read_key(variable: str | None) -> SecretStr | None:
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise InputError(
            f"The environment variable {variable} is not set; the recipe names it as the key of the writer's server.",
            next_step=f"export {variable}=... and run the same command again",
        )
    return SecretStr(value)


def _licence(role: Writer, weights: ResolvedWeights | None) -> str:
    return role.licence or (weights.licence if weights else "") or _own_licence(role.backend)


def _own_licence(backend: str) -> str:
    """The licence of the text that the built-in double writes; any other model must state its own."""
    return "Apache-2.0" if backend == "echo" else NO_LICENCE
