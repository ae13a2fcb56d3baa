# SPDX-License-Identifier: Apache-2.0
"""Publishing: what a release holds goes to a dataset repository of the Hub in one commit, and is compared there.

    audit -> what differs from the branch's head -> shards uploaded ahead -> one commit -> compared -> tag

Readers see the old release or the new one, never half of one: `upload_folder` would split this into several commits,
with the removals in the first. Whoever else commits meanwhile is never overwritten. A commit whose answer was lost is
recognised by its manifest, so that nothing is published twice.
"""

import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from flows.atomic import write_bytes
from flows.failpoints import failpoint
from flows.manifest import is_release_file, read_manifest
from flows.release_audit import SHOWN, audit_release
from flows.run_identity import CARD, MANIFEST, WORK
from validators.errors import GateError, HubError, InputError

log = logging.getLogger(__name__)

RECORD = "publish.json"
TRIES = 6
FIRST_WAIT_S = 1.0  # doubled at each further try
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
RACE = frozenset({409, 412})
VERSION = re.compile(r"v(\d+)")
DATASET = "dataset"
OWN = frozenset({".gitattributes"})
"""What the Hub puts into an empty repository itself."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What publishing does, or did."""

    repo: str
    version: str
    adds: tuple[str, ...]
    removes: tuple[str, ...]
    unchanged: int
    bytes: int
    commit: str | None
    """None in a dry run."""


@dataclass(frozen=True, slots=True)
class _Remote:
    """The head of the branch: its commit, and what each file is known by there."""

    head: str | None
    files: dict[str, str]
    """Path -> sha256 of a large file, or git's hash of a small one."""
    tags: dict[str, str]


def publish(
    root: Path,
    repo: str,
    *,
    version: str | None = None,
    public: bool = False,
    branch: str = "main",
    allow: Collection[str] = (),
    dry_run: bool = False,
) -> Publication:
    """Publish a finished release; run again it does only what is left to do, and nothing if nothing is.

    A new repository is private unless `public`; one that exists stays as it is. Raises `GateError` where the audit
    finds something, `InputError` for a repository with another's data, `HubError` where the Hub does not do its part.
    """
    manifest = read_manifest(root)
    if findings := audit_release(root, manifest, allow=allow):
        shown = "\n  ".join(str(one) for one in findings[:SHOWN])
        more = f"\n  and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
        raise GateError(
            f"The release must not be published:\n  {shown}{more}",
            where=str(root),
            next_step="mend it; or --allow a licence, or a kind of personal data, that you have looked at",
        )
    ours = {path: _hashes(root / path) for path in (*(file.path for file in manifest.files), MANIFEST)}
    api = HfApi()
    with _told(repo):
        remote = _look(api, repo, branch)
        adds = [path for path, known in ours.items() if remote.files.get(path) not in known]
        removes = sorted(path for path in remote.files if is_release_file(path) and path not in ours)
        _refuse_others(repo, remote)
        planned = Publication(
            repo=repo,
            version=version or _next_version(remote, changed=bool(adds or removes)),
            adds=tuple(adds),
            removes=tuple(removes),
            unchanged=len(ours) - len(adds),
            bytes=sum((root / path).stat().st_size for path in adds),
            commit=None,
        )
        if dry_run:
            return planned
        _validate_card(root / CARD)
        if remote.head is None:
            _patiently(lambda: api.create_repo(repo, repo_type=DATASET, private=not public, exist_ok=True))
            remote = _look(api, repo, branch)
        commit = _commit(api, root, planned, remote, branch, ours[MANIFEST]) if adds or removes else str(remote.head)
        failpoint("after_commit")
        _compare(api, repo, commit, ours)
        _tag(api, planned, commit)
    done = Publication(**{**asdict(planned), "commit": commit})
    write_bytes(root / WORK / RECORD, json.dumps(asdict(done), indent=1).encode() + b"\n")
    return done


def _validate_card(path: Path) -> None:
    """Ask the Hub whether it takes the head of the card, before anything is sent."""
    try:
        _patiently(lambda: DatasetCard(path.read_text(encoding="utf-8")).validate(repo_type=DATASET))
    except ValueError as error:
        next_step = "this is a bug; build the release anew, and tell us"
        raise HubError(f"The Hub does not take the card: {error}", where=str(path), next_step=next_step) from None


def _look(api: HfApi, repo: str, branch: str) -> _Remote:
    """Read the head of a branch; a repository that is not there has none."""
    try:
        head = _patiently(lambda: api.repo_info(repo, repo_type=DATASET, revision=branch)).sha
    except RepositoryNotFoundError:
        return _Remote(None, {}, {})
    files = _list_files(api, repo, str(head))
    refs = _patiently(lambda: api.list_repo_refs(repo, repo_type=DATASET))
    return _Remote(head, files, {tag.name: tag.target_commit for tag in refs.tags})


def _list_files(api: HfApi, repo: str, revision: str) -> dict[str, str]:
    """What each file is known by at a commit; see `_Remote.files`."""
    tree = _patiently(lambda: list(api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=DATASET)))
    return {one.path: one.lfs.sha256 if one.lfs else one.blob_id for one in tree if hasattr(one, "blob_id")}


def _refuse_others(repo: str, remote: _Remote) -> None:
    """Refuse a repository that holds data which is none of ours: a reader would get both."""
    if MANIFEST in remote.files:
        return
    if strangers := sorted(path for path in remote.files if path not in OWN and path != CARD):
        raise InputError(
            f"{repo} holds files that Affectory did not publish: {', '.join(strangers[:4])}",
            where=repo,
            next_step="name another repository, or empty this one",
        )


def _next_version(remote: _Remote, *, changed: bool) -> str:
    """The tag of the head if nothing changes, else the number after the highest."""
    if not changed and (of_head := sorted(tag for tag, commit in remote.tags.items() if commit == remote.head)):
        return of_head[-1]
    numbers = [int(found[1]) for tag in remote.tags if (found := VERSION.fullmatch(tag))]
    return f"v{1 + max(numbers, default=0)}"


def _commit(  # noqa: PLR0917 - from where to where
    api: HfApi, root: Path, planned: Publication, remote: _Remote, branch: str, manifest: frozenset[str]
) -> str:
    """Upload the shards, then commit everything at once; give the commit."""
    additions = [CommitOperationAdd(path, root / path) for path in planned.adds]
    # uploading ahead changes nothing that a reader sees, and what is there already is not sent again
    _patiently(lambda: api.preupload_lfs_files(planned.repo, additions, repo_type=DATASET, revision=branch))
    failpoint("after_upload")
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = list(additions)
    operations += [CommitOperationDelete(path) for path in planned.removes]
    failpoint("before_commit")
    for number in range(TRIES):
        try:
            done = api.create_commit(
                planned.repo,
                operations,
                commit_message=f"{planned.version}: {len(planned.adds)} files, {len(planned.removes)} removed",
                repo_type=DATASET,
                revision=branch,
                parent_commit=remote.head,
            )
        except (HfHubHTTPError, httpx2.TransportError) as error:
            found = _look(api, planned.repo, branch)
            if found.head != remote.head:
                if found.files.get(MANIFEST) in manifest:
                    return str(found.head)  # it was done, and the answer was lost
                raise HubError(
                    f"Somebody else has committed to {planned.repo} meanwhile; nothing of theirs was touched.",
                    where=planned.repo,
                    next_step="look at what they did, then run the same command again",
                ) from error
            if not _is_transient(error) or number == TRIES - 1:
                raise
            _wait(number, error)
        else:
            return str(done.oid)
    raise AssertionError("the last try returns or raises")


def _compare(api: HfApi, repo: str, commit: str, ours: Mapping[str, frozenset[str]]) -> None:
    """Compare what the Hub lists at a commit with the files here."""
    there = _list_files(api, repo, commit)
    wrong = [path for path, known in ours.items() if there.get(path) not in known]
    wrong += [path for path in there if is_release_file(path) and path not in ours]
    if wrong:
        raise HubError(
            f"{repo} does not hold what was published: {', '.join(sorted(wrong)[:4])}; no version was tagged.",
            where=f"{repo}@{commit}",
            next_step="run the same command again; if it stays so, tell the Hub's support",
        )


def _tag(api: HfApi, planned: Publication, commit: str) -> None:
    """Give the commit its version; a version never moves."""
    refs = _patiently(lambda: api.list_repo_refs(planned.repo, repo_type=DATASET))
    tagged = {tag.name: tag.target_commit for tag in refs.tags}
    if tagged.get(planned.version) == commit:
        return
    if planned.version in tagged:
        raise InputError(
            f"{planned.repo} has a version {planned.version} already, and it is another.",
            where=planned.repo,
            next_step="name a new one with --version",
        )
    _patiently(
        lambda: api.create_tag(planned.repo, tag=planned.version, revision=commit, repo_type=DATASET, exist_ok=True)
    )


def _hashes(path: Path) -> frozenset[str]:
    """What the Hub knows a file by: sha256 if it is large, git's hash of it as a blob if it is small."""
    size = path.stat().st_size
    git, plain = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            git.update(chunk)
            plain.update(chunk)
    return frozenset({git.hexdigest(), plain.hexdigest()})


def _patiently(call: Any) -> Any:
    """Do a call that may be repeated, again after transient failures."""
    for number in range(TRIES):
        try:
            return call()
        except (HfHubHTTPError, httpx2.TransportError) as error:
            if not _is_transient(error) or number == TRIES - 1:
                raise
            _wait(number, error)
    raise AssertionError("the last try returns or raises")


def _is_transient(error: Exception) -> bool:
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in TRANSIENT


def _wait(number: int, error: Exception) -> None:
    """Wait as long as the Hub says, else twice as long at each try, with jitter."""
    said = error.response.headers.get("retry-after", "") if isinstance(error, HfHubHTTPError) else ""
    wait_s = float(said) if said.isdecimal() else FIRST_WAIT_S * 2**number * random.uniform(0.5, 1)  # noqa: S311
    log.info("the Hub did not answer as it should (%s); again in %.1f s", type(error).__name__, wait_s)
    time.sleep(wait_s)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Tell what the Hub refuses as a `HubError` with the next step, without addresses that may hold a signature."""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = {
            401: "log in with `hf auth login`, or set HF_TOKEN",
            403: "the token may not write there: give it the right to, or name a repository of yours",
            404: "check the name; a private repository needs HF_TOKEN",
        }.get(status, "run the same command again later: what was uploaded is not sent again")
        raise HubError(f"The Hub answered {status} to publishing {repo}.", where=repo, next_step=advice) from None
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        raise HubError(
            f"The Hub cannot be reached ({type(error).__name__}).",
            where=repo,
            next_step="check the network, and that HF_HUB_OFFLINE is not set; then run the same command again",
        ) from None
