# SPDX-License-Identifier: Apache-2.0
"""Coqui's models in this process (`import TTS`): XTTS-v2 with reference clips, and models with speakers of their own.

XTTS has no control for emotion: it speaks as its reference clip does. So a voice has clips by feeling, as DeepDialogue
made its speech, and the one nearest to the feeling asked for is taken. What clips condition (the GPT's latents and the
speaker embedding) is computed once for each, and a mild feeling lies half way between the neutral clip's and the
strong one's. Other models, such as VITS, take the rate alone; tilt and gain are applied to the sound of all.
"""

import contextlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly  # type: ignore[import-untyped]

from generators.backends.sound import PEAK, finish
from generators.speech.references import nearest_clips
from generators.speech.voices import (
    ALL_CONTROLS,
    SAMPLE_RATE,
    Samples,
    Speech,
    UnspeakableError,
    Voice,
    VoiceSettings,
    check_voice,
)
from validators.errors import InputError, ModelError
from validators.speech_records import VoiceCard

OPTIONS = ("language", "temperature", "device")
ONE_SPEAKER = "speaker"
LEAST_S = 0.05  # less sound than one syllable is no speech
CONDITIONING = {"gpt_cond_len": 30, "gpt_cond_chunk_len": 6, "max_ref_length": 30}
"""Seconds of a clip that are listened to, as XTTS-v2's own configuration has them."""
TEMPERATURE = 0.65  # XTTS-v2's own; higher ones stumble more

Latents = tuple[Any, Any]
"""What a clip conditions: (1, 32, width) of the GPT, and the speaker embedding (1, 512, 1)."""


def open_voice(settings: VoiceSettings) -> Voice:
    """Load a local folder with config.json and its checkpoint; nothing is fetched.

    Checkpoints are read by torch with `weights_only`, so they run no code. Options: `language`, `temperature` (of
    XTTS), `device`. Raises `InputError` for XTTS without reference clips and `ModelError` for what cannot be loaded.
    """
    if settings.weights is None:
        raise InputError("the coqui voice needs weights", next_step="Give a path or a Hub repository with config.json.")
    if unknown := set(settings.options) - set(OPTIONS):
        what = f"the coqui voice has no option {', '.join(sorted(unknown))}"
        raise InputError(what, next_step=f"Known: {', '.join(OPTIONS)}.")
    folder, checkpoint = _find(Path(settings.weights), settings)
    kind = _kind(folder / "config.json", settings)
    is_xtts = kind == "xtts"
    if is_xtts and not settings.references:
        raise InputError(
            f"{settings.name} speaks as its reference clips do, and has none",
            next_step="Name a file of reference clips in speech.voice.references.",
        )
    _read_sound_with_soundfile()
    import torch
    from TTS.api import TTS

    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its configuration line by line
            # the folder and not the file for XTTS, which looks for its vocabulary beside the checkpoint
            engine = TTS(
                model_path=str(folder if is_xtts else checkpoint),
                config_path=str(folder / "config.json"),
                progress_bar=False,
            ).to(str(settings.options.get("device", "cpu")))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ModelError(f"Coqui cannot load {settings.name}: {error}", where=str(folder)) from error
    return XttsVoice(engine, settings) if is_xtts else SpeakersVoice(engine, settings)


class _CoquiVoice(ABC):
    """What both kinds share: cards, and what is done with the engine's sound."""

    controls = ALL_CONTROLS

    def __init__(self, engine: Any, settings: VoiceSettings) -> None:
        self.model = f"{settings.name}@{settings.revision}" if settings.revision else settings.name
        self.voices: Mapping[str, VoiceCard] = {}
        self._engine = engine
        self._settings = settings

    def speak(self, speech: Speech) -> Samples:
        """Say it; the same seed gives the same samples on the same machine."""
        import torch

        card = check_voice(speech.voice, self.voices)
        if not any(char.isalnum() for char in speech.text):
            raise UnspeakableError("no word in it")
        torch.manual_seed(speech.seed)
        try:
            with contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
                samples = np.asarray(self._say(speech, card), dtype=np.float32).ravel()
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            # its models fail in their own ways on a text that is too short or too long for them
            raise UnspeakableError(f"{self._settings.name} cannot say it: {error}") from error
        if len(samples) < LEAST_S * self._rate or not np.isfinite(samples).all():
            raise UnspeakableError(f"{self._settings.name} gave no sound for it")
        samples = resample_poly(samples, SAMPLE_RATE, self._rate)
        return finish(samples * min(1.0, PEAK / float(np.abs(samples).max())), speech.delivery)

    def close(self) -> None:
        """Free the engine."""
        self._engine = None

    @property
    def _rate(self) -> int:
        return int(self._engine.synthesizer.output_sample_rate)

    @abstractmethod
    def _say(self, speech: Speech, card: VoiceCard) -> NDArray[np.float32]:
        """Say it by the engine, at its own rate."""


class XttsVoice(_CoquiVoice):
    """XTTS-v2: a voice is what its reference clips sound like."""

    def __init__(self, engine: Any, settings: VoiceSettings) -> None:
        super().__init__(engine, settings)
        self._latents: dict[tuple[str, ...], Latents] = {}
        known = list(engine.synthesizer.tts_config.languages)
        for name, voice in settings.references.items():
            if voice.language not in known:
                raise InputError(
                    f"{settings.name} does not speak {voice.language!r}, the language of the voice {name!r}",
                    next_step=f"Known: {', '.join(known)}.",
                )
        self.voices = {
            name: VoiceCard(name=name, language=voice.language, gender=voice.gender, licence=voice.licence)
            for name, voice in settings.references.items()
        }

    def _say(self, speech: Speech, card: VoiceCard) -> NDArray[np.float32]:
        clips = self._settings.references[card.name].clips
        neutral = self._conditions(nearest_clips(clips, ""))
        felt = self._conditions(nearest_clips(clips, speech.feeling))
        gpt, speaker = (plain + speech.strength * (strong - plain) for plain, strong in zip(neutral, felt, strict=True))
        said = self._engine.synthesizer.tts_model.inference(
            speech.text,
            card.language,
            gpt,
            speaker,
            temperature=float(str(self._settings.options.get("temperature", TEMPERATURE))),
            speed=2**speech.delivery.rate_oct,
        )
        return np.asarray(said["wav"], dtype=np.float32)

    def _conditions(self, clips: Sequence[str]) -> Latents:
        key = tuple(clips)
        if key not in self._latents:
            model = self._engine.synthesizer.tts_model
            self._latents[key] = model.get_conditioning_latents(audio_path=list(clips), **CONDITIONING)
        return self._latents[key]


class SpeakersVoice(_CoquiVoice):
    """A model with one speaker or several of its own, such as VITS; of a delivery it takes rate, tilt and gain."""

    controls = frozenset({"rate_oct", "tilt_db", "gain_db"})

    def __init__(self, engine: Any, settings: VoiceSettings) -> None:
        super().__init__(engine, settings)
        self._is_multi_speaker = bool(engine.is_multi_speaker)
        language = str(settings.options.get("language", "en"))
        names = sorted(engine.speakers) if self._is_multi_speaker else [ONE_SPEAKER]
        self.voices = {
            name: VoiceCard(name=name, language=language, gender="unknown", licence=settings.licence or "unknown")
            for name in names
        }

    def _say(self, speech: Speech, card: VoiceCard) -> NDArray[np.float32]:
        model = self._engine.synthesizer.tts_model
        if hasattr(model, "length_scale"):
            model.length_scale = 2**-speech.delivery.rate_oct
        said = self._engine.tts(
            text=speech.text,
            speaker=card.name if self._is_multi_speaker else None,
            language=card.language if self._engine.is_multi_lingual else None,
            split_sentences=False,
        )
        return np.asarray(said, dtype=np.float32)


def _find(weights: Path, settings: VoiceSettings) -> tuple[Path, Path]:
    """The folder of a model and its checkpoint, given either."""
    folder = weights if weights.is_dir() else weights.parent
    found = [weights] if weights.is_file() else sorted((*folder.glob("model*.pth"), *folder.glob("*.pth")))
    if not found or not (folder / "config.json").is_file():
        raise ModelError(
            f"{settings.name} has no config.json with a checkpoint (.pth) beside it",
            where=str(weights),
            next_step="Name the folder that holds both, as Coqui publishes its models.",
        )
    return folder, found[0]


def _kind(path: Path, settings: VoiceSettings) -> str:
    """What a model is, as its configuration says."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["model"]).casefold()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the configuration of {settings.name} cannot be read: {error}", where=str(path)) from error


def _read_sound_with_soundfile() -> None:
    """Let Coqui read clips without FFmpeg: torchaudio 2.9 and later decode through torchcodec, which needs it."""
    import soundfile
    import torch
    import torchaudio

    def load(path: str, *_: object, **__: object) -> tuple[Any, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(np.ascontiguousarray(samples.T)), int(rate)

    torchaudio.load = load
