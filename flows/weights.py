# SPDX-License-Identifier: Apache-2.0
"""Finds the weights a recipe names, pinned by a hash or a commit: in a package, on this disk or on the Hub."""

import re
import shutil
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.atomic import storage_errors
from flows.packaged_weights import PACKAGED, PackagedFile, PackagedWeights
from flows.weights_files import file_sha256, folder_sha256, join_files, prepare_cache
from validators.errors import InputError, ModelError, StorageError

FILE_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja")
"""What is fetched of a Hub repository. Pickles (.bin, .pt) are left there: loading one runs its code."""
HUB_FILE_SUFFIXES = (".gguf", ".safetensors")
COMMIT = re.compile(r"[0-9a-f]{40}")


class WeightsSpec(BaseModel):
    """Which weights to use: exactly one of `package`, `path` and `hub`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    package: str = ""
    """A name from the table `PACKAGED`."""
    path: Annotated[Path | None, Field(strict=False)] = None
    """A GGUF file or a folder of safetensors."""
    hub: str = ""
    """owner/name@commit, the commit with all its 40 digits."""
    file: str = ""
    """One file of the Hub repository; without it, the folder of safetensors."""
    licence: str = ""
    """SPDX name of the licence of the weights, for `path` and `hub`."""
    holds: str = ".safetensors"
    """Ending of the files that a local folder must hold."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in ("package", "path", "hub") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"give exactly one of package, path and hub; found {', '.join(given) or 'none'}")
        if self.file and not self.hub:
            raise ValueError("file goes with hub alone")
        return self


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    """Weights on this disk, and what to write about them in every row and card."""

    path: Path
    revision: str
    """sha256 of the file or folder, or commit of the Hub repository."""
    licence: str
    """Empty where it is not known."""
    name: str


def resolve_weights(spec: WeightsSpec, *, cache: Path) -> ResolvedWeights:
    """Find the weights; large files are hashed once, joined parts are kept in the cache."""
    prepare_cache(cache)
    if spec.package:
        return _packaged(spec.package, cache)
    if spec.path is not None:
        return _local(spec, cache)
    return _from_hub(spec)


def dequantised(gguf: Path, *, cache: Path) -> Path:
    """Turn a GGUF file into a folder of bf16 safetensors that vLLM reads; made once per content of the file."""
    prepare_cache(cache)
    folder = cache / f"{gguf.stem}-{file_sha256(gguf, cache=cache)[:12]}-bf16"
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        missing = [name for name in ("torch", "transformers", "gguf", "accelerate") if find_spec(name) is None]
        if missing:
            raise ModelError(
                f"a GGUF file cannot be dequantised without {', '.join(missing)}",
                next_step=f"pip install {' '.join(missing)}",
            )
        from generators.backends.dequantise import dequantise

        temporary = folder.with_name(f"{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed: nobody else holds the lock
        try:
            with storage_errors(folder):
                dequantise(gguf, temporary)
                temporary.replace(folder)  # the name appears only when the folder is whole
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _packaged(name: str, cache: Path) -> ResolvedWeights:
    if name not in PACKAGED:
        raise InputError(f"packaged weights {name!r} are unknown", next_step=f"Known: {', '.join(PACKAGED)}.")
    weights = PACKAGED[name]
    if weights.beside:
        path = _put_together(weights, cache)
    elif len(weights.parts) == 1:
        path = _find_parts(weights)[0]
        found = file_sha256(path / weights.hashed_file, cache=cache)
        if found != weights.sha256:
            raise ModelError(
                f"{weights.name} is not the expected file: sha256 expected {weights.sha256}, found {found}",
                where=str(path),
                next_step=f"Install the package again: {weights.install}",
            )
    else:
        path = cache / f"{weights.name}{weights.suffix}"
        with FileLock(f"{path}.lock"):
            if not path.is_file() or file_sha256(path, cache=cache) != weights.sha256:
                join_files(_find_parts(weights), path, sha256=weights.sha256, cache=cache)
    return ResolvedWeights(path, weights.sha256, weights.licence, weights.name)


def _put_together(weights: PackagedWeights, cache: Path) -> Path:
    """Make the folder of a joined file and its neighbours in the cache; a file that was changed is made anew."""
    folder = cache / weights.name
    prepare_cache(folder)
    with FileLock(f"{folder}.lock"):
        for file in (PackagedFile(weights.hashed_file, weights.parts, weights.sha256), *weights.beside):
            path = folder / file.name
            if not path.is_file() or file_sha256(path, cache=cache) != file.sha256:
                join_files(_find_parts(replace(weights, parts=file.parts)), path, sha256=file.sha256, cache=cache)
    return folder


def _find_parts(weights: PackagedWeights) -> tuple[Path, ...]:
    paths, missing = [], []
    for module, inner in weights.parts:
        spec = find_spec(module)  # locates the package without running it
        folders = list(spec.submodule_search_locations or ()) if spec else []
        path = next((Path(folder) / inner for folder in folders if (Path(folder) / inner).exists()), None)
        if path is None:
            missing.append(module)
        else:
            paths.append(path)
    if missing:
        raise ModelError(
            f"{weights.name}: {len(missing)} of {len(weights.parts)} parts are not installed ({', '.join(missing)})",
            next_step=weights.install,
        )
    return tuple(paths)


def _local(spec: WeightsSpec, cache: Path) -> ResolvedWeights:
    path, licence = spec.path, spec.licence
    if path is None:
        raise ValueError("weights without a path are not local")
    if path.is_dir():
        if not any(path.rglob(f"*{spec.holds}")):
            raise InputError(f"the folder of weights holds no {spec.holds.removeprefix('.')}", where=str(path))
        return ResolvedWeights(path, folder_sha256(path, cache=cache), licence, path.name)
    if not path.is_file():
        raise InputError("there are no weights at this path", where=str(path))
    if path.suffix != ".gguf":
        raise InputError(
            f"weights of type {path.suffix or 'unknown'} are not read", where=str(path),
            next_step="Give a .gguf file, or a folder with config.json and .safetensors files.",
        )  # fmt: skip
    return ResolvedWeights(path, file_sha256(path, cache=cache), licence, path.stem)


def _from_hub(spec: WeightsSpec) -> ResolvedWeights:
    """Fetch from the Hub, into the cache that its own client keeps, so that weights which are there are not doubled."""
    repository, _, revision = spec.hub.partition("@")
    if not COMMIT.fullmatch(revision):
        raise InputError(
            f"the revision of {repository} must be a commit of 40 hexadecimal digits, not {revision or 'empty'!r}",
            next_step="A branch can change under a run: copy the commit from the repository's history.",
        )
    if spec.file and not spec.file.endswith(HUB_FILE_SUFFIXES):
        raise InputError(f"{spec.file} is not read", next_step=f"Give a file that ends in {HUB_FILE_SUFFIXES}.")
    import httpx2
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    try:
        if spec.file:
            path = hf_hub_download(repository, spec.file, revision=revision)
        else:
            path = snapshot_download(repository, revision=revision, allow_patterns=list(FILE_PATTERNS))
    except errors.LocalEntryNotFoundError as error:
        raise _hub_error(spec, "could not be reached", "Check the network, or fetch the weights beforehand.") from error
    except errors.GatedRepoError as error:
        raise _hub_error(spec, "wants you to accept its terms", "Accept them on its page and log in.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise _hub_error(spec, "has no such file or commit", "Check the name, the commit and your login.") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, httpx2.HTTPError, ConnectionError) as error:
        raise _hub_error(spec, f"failed ({type(error).__name__})", "Check the name and the network.") from error
    except OSError as error:
        raise StorageError(f"the weights could not be stored: {error.strerror}", where=spec.hub) from error
    name = Path(spec.file).stem if spec.file else repository
    return ResolvedWeights(Path(path), revision, spec.licence, name)


def _hub_error(spec: WeightsSpec, what: str, next_step: str) -> ModelError:
    return ModelError(f"the Hub repository of the weights {what}", where=f"{spec.hub} {spec.file}", next_step=next_step)
