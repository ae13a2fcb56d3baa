# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about speech: which texts are said, by which voices, and who listens."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from flows.roles import Weights
from validators.problems import Place, ProblemsError
from validators.records import Record, Text

Share = Annotated[float, Field(ge=0, le=1)]
NEEDS_WEIGHTS = {"kokoro", "coqui", "whisper", "audio_classifier"}


class Voice(Record):
    """The engine that speaks."""

    backend: Literal["kokoro", "coqui", "tone"]
    weights: Weights | None = None
    references: Text | None = None  # YAML file of voices given by recordings, for models that speak as those do
    licence: Text | None = None  # of weights and voices, where neither package nor file of references says it
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        _check(self.backend, self.weights)
        if self.references is not None and self.backend != "coqui":
            raise ProblemsError(
                [(("references",), "only belongs to the coqui voice: remove it, or change the backend")]
            )
        return self


class Listener(Record):
    """The models that listen to every take."""

    backend: Literal["whisper", "quiet"]
    weights: Weights | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        _check(self.backend, self.weights)
        return self


class EmotionListener(Record):
    """Who hears in every take which emotion it is; without one the clips' `perceived` is empty."""

    backend: Literal["audio_classifier", "echo"]
    weights: Weights | None = None
    label_map: Text | None = None  # YAML file of 'label of the taxonomy: label of the model'
    rank: Annotated[int, Field(ge=1)] = 1  # the intention counts as heard among so many first; such models know few

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        _check(self.backend, self.weights)
        return self


class Speech(Record):
    """Clips of the kept utterances and turns."""

    voice: Voice
    listener: Listener
    emotion: EmotionListener | None = None
    of: Annotated[tuple[Literal["utterances", "dialogues"], ...], Field(min_length=1)] = ("utterances", "dialogues")
    voices: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None  # all that speak the language of the text
    renderings: tuple[Literal["voice", "emotion", "intensity"], ...] = ()  # minimal pairs cost as much as other clips
    takes: Annotated[int, Field(ge=1, le=16)] = 3
    near: Annotated[float, Field(ge=0)] = 1.5  # just noticeable differences; a nearer take is not worth another one
    max_wer: Annotated[float, Field(ge=0)] = 0.25  # one word of four: names are the recogniser's mistakes
    min_dnsmos: Annotated[float, Field(ge=1, le=5)] = 3.0  # neutral takes of good voices measure 3.1 and more
    min_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.8  # one voice .93 and more, two voices .69 and less
    workers: Annotated[int, Field(ge=1, le=256)] = 2  # processes of one thread each: an engine gains nothing by more
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 180.0  # for all takes of a clip; a busy machine is slow
    webdataset: bool = False  # the clips once more, as tar archives for those who stream; doubles the size
    shard_rows: Annotated[int, Field(ge=1, le=10_000)] = 32


def _check(backend: str, weights: Weights | None) -> None:
    problems: list[tuple[Place, str]] = []
    if backend in NEEDS_WEIGHTS and weights is None:
        problems.append((("weights",), f"is missing: the {backend} backend needs a package or path"))
    if backend not in NEEDS_WEIGHTS and weights is not None:
        problems.append((("weights",), f"the {backend} backend takes no weights: remove them"))
    if problems:
        raise ProblemsError(problems)
