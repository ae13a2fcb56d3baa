# SPDX-License-Identifier: Apache-2.0
"""The identity of a run: everything that decides its rows, and a fingerprint of it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping

from flows.recipe import Recipe

EXCLUDED = {
    "name": "names the folder; the rows in it are the same under another name",
    "stories.path": "a folder may move; its content is in stories_sha256",
    "stories.fairytaleqa": "a folder may move; its content is in stories_sha256",
    "writer.slots": "how many rows are written side by side",
    "writer.threads": "how fast a row is written",
    "writer.workers": "how many processes write",
    "writer.base_url": "the same model may be served at another address",
    "writer.api_key_env": "where the key is found says nothing about the rows",
    "writer.timeout_s": "when to ask again, not what",
    "writer.serve": "the same vLLM with the same options, in a process of its own",
    "encoder.threads": "how fast a sentence is encoded",
    "gates.max_reason_share": "when to stop a run; what is kept or rejected stays the same",
    "speech.workers": "how many processes speak",
    "speech.timeout_s": "when to give a clip up",
    "reader.path": "a folder may move; its content is in versions.reader",
}
"""Keys that may change when a run is resumed, each with the reason why no row changes by it."""

QUOTAS = {
    "utterances.rows": "how many rows are wanted",
    "utterances.contextual_rows": "how many of them with context",
    "utterances.labels": "of which labels",
    "utterances.neutral_share": "of which labels",
    "utterances.tries": "when to give a label up",
    "dialogues.rows": "how many dialogues are wanted",
    "dialogues.tries": "when to give up",
    "budget": "when to stop",
    "floors": "judges the finished release",
}
"""Keys (and all below them) that decide how many rows there are, but not what any of them is. With others the same
folder goes on from the rows it has, and its release is made anew."""

_DIALOGUE_WRITER = re.compile(r'^dialogues\.writers\.(?:"[^"]*"|[^.]+)\.')
_SHOWN = 60  # characters of a value in a difference; a hash or a list says no more when longer


def identity(
    recipe: Recipe,
    *,
    taxonomy_sha256: str,
    stories_sha256: str,
    prompts_sha256: str,
    versions: Mapping[str, str],
    earlier_sha256: str = "",
) -> dict[str, str]:
    """List all that decides the rows of a run, as dotted keys with values in canonical JSON.

    `earlier_sha256` is of the manifests of earlier versions; "" where there are none.
    """
    keys = dict(_flat(_without_servers(recipe.canonical())))
    kept = {key: value for key, value in keys.items() if _writer_key(key) not in EXCLUDED and not is_quota(key)}
    hashes = {"taxonomy": taxonomy_sha256, "stories": stories_sha256, "prompts": prompts_sha256}
    hashes |= {"earlier": earlier_sha256} if earlier_sha256 else {}
    kept |= {f"{what}_sha256": _json(digest) for what, digest in hashes.items()}
    kept |= {f"versions.{what}": _json(version) for what, version in versions.items()}
    return dict(sorted(kept.items()))


def _without_servers(data: dict[str, object]) -> dict[str, object]:
    """Leave out how servers are started, wherever a writer stands: readers have some too, in lists."""
    is_writer = isinstance(data.get("backend"), str)  # in a mapping of names to writers, `serve` may be a name
    return {key: _serverless(value) for key, value in data.items() if not (is_writer and key == "serve")}


def _serverless(value: object) -> object:
    if isinstance(value, dict):
        return _without_servers(value)
    return [_serverless(one) for one in value] if isinstance(value, list) else value


def _writer_key(key: str) -> str:
    """A key of one of the writers of dialogues as that of the recipe's own writer, any other as it is."""
    return _DIALOGUE_WRITER.sub("writer.", key)


def is_quota(key: str) -> bool:
    """Whether a dotted key is one of the quotas, or below one."""
    return any(key == quota or key.startswith(f"{quota}.") for quota in QUOTAS)


def quotas_of(recipe: Mapping[str, object]) -> dict[str, str]:
    """The quotas of a recipe as plain data, as dotted keys with values in canonical JSON."""
    return {key: value for key, value in _flat(recipe) if is_quota(key)}


def fingerprint(identity: Mapping[str, str]) -> str:
    """Hash an identity."""
    return hashlib.sha256(_json(dict(identity)).encode()).hexdigest()


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """List what differs between two identities, as `key: old -> new`."""
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in changed]


def _shown(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value if len(value) <= _SHOWN else f"{value[: _SHOWN - 1]}…"


def _flat(data: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        # a key with a dot in it must not read as two keys
        dotted = above + (_json(key) if "." in key or '"' in key else key)
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{dotted}.")
        else:
            yield dotted, _json(value)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
