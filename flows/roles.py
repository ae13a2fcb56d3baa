# SPDX-License-Identifier: Apache-2.0
"""The model roles of a recipe: which weights, on which backend, with how much of the machine."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from flows.patterns import BaseUrl, HubName, Revision, VariableName
from flows.serve_role import Serve, serve_of
from generators.backends.vllm_serve import option_problem
from validators.problems import Place, ProblemsError
from validators.records import Record, Text


class Weights(Record):
    """Where the weights of a model come from: an installed package, a path, or the Hub at a commit."""

    package: Text | None = None
    path: Text | None = None
    hub: HubName | None = None
    revision: Revision | None = None
    file: Text | None = None

    @property
    def name(self) -> str:
        """The shortest name that says which weights these are."""
        return self.package or self.hub or Path(self.path or "").name

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        problems: list[tuple[Place, str]] = []
        if sum(origin is not None for origin in (self.package, self.path, self.hub)) != 1:
            problems.append(((), "needs exactly one of package, path, hub"))
        if self.hub and not self.revision:
            problems.append((("hub",), "needs a revision beside it (40 hex digits), so that the model stays the same"))
        if not self.hub and (self.revision or self.file):
            problems.append((("revision" if self.revision else "file",), "only belongs to hub weights: remove it"))
        if problems:
            raise ProblemsError(problems)
        return self


class Writer(Record):
    """The model that writes, and what it may use."""

    backend: Literal["llama", "vllm", "openai", "echo"]
    name: Text | None = None
    weights: Weights | None = None
    licence: Text | None = None
    slots: Annotated[int, Field(ge=1, le=1024)] = 8  # rows written side by side; more no longer helps on a CPU
    context_tokens: Annotated[int, Field(ge=512)] = 4096  # longest prompt and reply, of all slots each
    threads: Annotated[int, Field(ge=1, le=256)] = 1  # ggml loses more by contention than it gains beyond one
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    base_url: BaseUrl | None = None
    api_key_env: VariableName | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0  # a full reply of a busy server, seen up to 60 s
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8  # varied and still on topic
    options: dict[str, JsonValue] = Field(default_factory=dict)
    # vllm alone: the run starts its server, in an environment of its own; absent where there is none, so that the
    # identity of every other recipe stays what it was
    serve: Annotated[Serve | None, BeforeValidator(serve_of)] = Field(default=None, exclude_if=lambda one: one is None)

    @property
    def model_name(self) -> str:
        """The name under which the model appears in the rows, and which a server is asked for."""
        return self.name or (self.weights.name if self.weights else self.backend)

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        problems = _weight_problems(self.backend, self.weights, needs={"llama", "vllm"})
        if self.backend == "openai":
            for key in ("base_url", "name"):
                if getattr(self, key) is None:
                    problems.append(((key,), "is missing: an openai server needs it"))
        elif self.base_url or self.api_key_env:
            key = "base_url" if self.base_url else "api_key_env"
            problems.append(((key,), "only belongs to the openai backend: remove it, or change the backend"))
        problems += _serve_problems(self)
        # every row names the licence of the model that wrote it, and publishing refuses an unknown one
        if self.licence is None and self.backend != "echo" and not (self.weights and self.weights.package):
            problems.append((("licence",), "is missing: write the licence of the model, such as apache-2.0"))
        if problems:
            raise ProblemsError(problems)
        return self


def _serve_problems(writer: Writer) -> list[tuple[Place, str]]:
    if writer.serve is None:
        return []
    if writer.backend != "vllm":
        return [(("serve",), "only belongs to the vllm backend: remove it, or change the backend")]
    return [(("options", name), problem) for name in writer.options if (problem := option_problem(name))]


class Encoder(Record):
    """The model that turns sentences into vectors, by which near duplicates are found."""

    backend: Literal["sentence", "hashed"]
    name: Text | None = None
    weights: Weights | None = None
    licence: Text | None = None
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    options: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The name under which the model appears in the report."""
        return self.name or (self.weights.name if self.weights else self.backend)

    @model_validator(mode="after")
    def _fits_backend(self) -> Self:
        if problems := _weight_problems(self.backend, self.weights, needs={"sentence"}):
            raise ProblemsError(problems)
        return self


def _weight_problems(backend: str, weights: Weights | None, needs: set[str]) -> list[tuple[Place, str]]:
    if backend in needs and weights is None:
        return [(("weights",), f"is missing: the {backend} backend needs a package, path or hub")]
    if backend not in needs and weights is not None:
        return [(("weights",), f"the {backend} backend takes no weights: remove them")]
    if backend == "llama" and weights and weights.hub and not weights.file:
        return [(("weights", "file"), "is missing: name the .gguf file in the hub repository")]
    return []
