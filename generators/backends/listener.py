# SPDX-License-Identifier: Apache-2.0
"""The embedded listener: Whisper for the words, DNSMOS for the quality, a d-vector for the voice, SwiftF0 for pitch.

Each part runs on one thread, so that listeners in several processes do not fight for the cores.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from generators.backends.dnsmos import Dnsmos
from generators.backends.packaged_onnx import named_version
from generators.backends.speaker import SpeakerEmbedder
from generators.speech.listeners import ListenerSettings
from validators.errors import InputError, ModelError
from validators.roles import Heard, Listener, Sound

LISTENING_RATE = 16_000  # of all four models
VOICED = 0.5  # SwiftF0's confidence from which on a frame is voiced, as its authors calibrated it
INAUDIBLE = 1e-3  # peak (-60 dB) below which nobody is asked for words: Whisper hears "Thank you." in silence


def open_listener(settings: ListenerSettings) -> Listener:
    """Load a local Whisper folder in CTranslate2's format, and the small models from their packages.

    Options go to `WhisperModel` as they are; int8 on one CPU thread unless given.
    """
    if settings.weights is None:
        raise InputError("the listener needs weights", next_step="Give the package whisper-base, or a path.")
    from faster_whisper import WhisperModel
    from swift_f0 import SwiftF0

    options: dict[str, Any] = {"device": "cpu", "compute_type": "int8", "cpu_threads": 1, **settings.options}
    try:
        # a name would be fetched from the Hub: only an absolute path is always taken for a folder
        engine = WhisperModel(str(settings.weights), local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"faster-whisper cannot load {settings.name}: {error}",
            where=str(settings.weights),
            next_step="The folder must hold model.bin, config.json, tokenizer.json and vocabulary.json.",
        ) from error
    # spin=False: its thread would wait at full speed between clips
    return WhisperListener(engine, Dnsmos(), SpeakerEmbedder(), SwiftF0(threads=1, spin=False), settings)


class WhisperListener:
    """Hears one clip at a time; may be called from several threads."""

    def __init__(
        self, whisper: Any, quality: Dnsmos, embedder: SpeakerEmbedder, pitch: Any, settings: ListenerSettings
    ) -> None:
        words = f"{settings.name}@{settings.revision}" if settings.revision else settings.name
        engine = named_version("faster-whisper")
        self.model = f"{words} ({engine}), {quality.model}, {embedder.model}, {named_version('swift-f0')}"
        self._whisper = whisper
        self._quality = quality
        self._embedder = embedder
        self._pitch = pitch

    def listen(self, sound: Sound) -> Heard:
        """Listen to one clip. Raises `InputError` for samples that are no sound, or a language it does not know."""
        self._check_language(sound.language)
        samples = _resample(sound)
        f0_hz, frame_s = self._track(samples)
        return Heard(
            transcript=self._transcribe(samples, sound.language),
            dnsmos=self._quality.score(samples),
            speaker=self._embedder.embed(samples),
            f0_hz=f0_hz,
            frame_s=frame_s,
        )

    def track_pitch(self, sound: Sound) -> tuple[NDArray[np.float32], float]:
        """F0 alone: Hz a frame, 0 where unvoiced, and the distance of frames in seconds."""
        return self._track(_resample(sound))

    def close(self) -> None:
        """Free the memory of Whisper's weights, which are the most."""
        self._whisper.model.unload_model()

    def _check_language(self, language: str) -> None:
        if language not in self._whisper.supported_languages:
            raise InputError(
                f"Whisper does not know the language {language!r}",
                next_step=f"Known: {', '.join(self._whisper.supported_languages)}.",
            )

    def _transcribe(self, samples: NDArray[np.float32], language: str) -> str:
        if float(np.abs(samples).max()) < INAUDIBLE:
            return ""
        segments, _ = self._whisper.transcribe(
            samples,
            language=language,
            beam_size=1,
            temperature=0.0,  # a list of them would sample anew, and the same clip give another text
            without_timestamps=True,
            condition_on_previous_text=False,  # one mistake must not lead to the next
        )
        return " ".join(segment.text.strip() for segment in segments).strip()

    def _track(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        from swift_f0 import FRAME_PERIOD

        found = self._pitch.detect(samples, LISTENING_RATE)
        f0_hz = np.where(found.confidence >= VOICED, found.pitch_hz, 0.0)
        return np.asarray(f0_hz, dtype=np.float32), float(FRAME_PERIOD)


def _resample(sound: Sound) -> NDArray[np.float32]:
    """Bring a sound to LISTENING_RATE; what overshoots full scale by the filter's ringing is cut."""
    samples = np.asarray(sound.samples, dtype=np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise InputError(f"a listener needs one channel of finite samples, found shape {samples.shape}")
    if sound.sample_rate != LISTENING_RATE:
        shared = math.gcd(sound.sample_rate, LISTENING_RATE)
        samples = resample_poly(samples, LISTENING_RATE // shared, sound.sample_rate // shared)
    return np.clip(samples, -1.0, 1.0).astype(np.float32)
