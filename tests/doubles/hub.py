# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face Hub on loopback: what `huggingface_hub` and `datasets` ask of it to publish and load, and faults.

Repositories live in memory; contents too. A script may answer a request itself, or misbehave after it was carried out.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LARGE = (".parquet", ".tar", ".flac", ".wav")
WHEN = "2026-01-01T00:00:00.000Z"


@dataclass
class Commit:
    """The files at a commit: path -> hash of its content."""

    files: dict[str, str]
    title: str
    parent: str | None


@dataclass
class Repo:
    """A repository with its history."""

    private: bool
    commits: dict[str, Commit]
    branches: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit."""
        known = {**self.branches, **self.tags}
        return known.get(unquote(revision), revision if revision in self.commits else None)


Script = Callable[[str, str], str]
"""From method and path to what is to go wrong: "" for nothing, a status as text, or `lost` after it was done."""


class LoopbackHub:
    """Runs in a thread; `with LoopbackHub() as hub` gives `hub.url` for HF_ENDPOINT."""

    def __init__(self, script: Script = lambda method, path: "") -> None:
        self.script = script
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        """Method, path and bytes sent, in the order of their coming."""
        self.url = ""
        every = ["GET", "POST", "PUT", "DELETE", "HEAD"]
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=every)])
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, name="loopback-hub", daemon=True)

    def __enter__(self) -> "LoopbackHub":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def sent(self, path: str) -> int:
        """The bytes that were sent to paths with this in them."""
        return sum(size for _, at, size in self.requests if path in at)

    def add_commit(self, repo: str, files: dict[str, bytes], title: str = "by somebody else") -> str:
        """Commit as somebody else does."""
        found = self.repos[repo]
        kept = found.commits[found.branches["main"]].files
        return self._store(found, "main", {**kept, **{path: self._keep(data) for path, data in files.items()}}, title)

    async def _answer(self, request: Request) -> Response:
        body, path = await request.body(), request.url.path
        self.requests.append((request.method, path, len(body)))
        fault = self.script(request.method, path)
        if fault.isdecimal():
            return JSONResponse({"error": "scripted"}, status_code=int(fault), headers={"Retry-After": "0"})
        answer = self._route(request, path.strip("/").split("/"), body)
        return JSONResponse({"error": "scripted"}, status_code=504) if fault == "lost" else answer

    def _route(self, request: Request, parts: list[str], body: bytes) -> Response:  # noqa: C901
        is_open = parts[0] == "_lfs" or parts == ["api", "validate-yaml"]
        if not is_open and not request.headers.get("authorization", "").startswith("Bearer "):
            return _refusal("Unauthorized", 401)
        match parts:
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "validate-yaml"]:
                return JSONResponse({"errors": [], "warnings": []})
            case ["api", "whoami-v2"]:
                return JSONResponse({"type": "user", "name": "me", "orgs": []})
            case ["_lfs", oid]:
                if hashlib.sha256(body).hexdigest() != oid:
                    return _refusal("BadHash", 400)
                self.blobs[oid] = body
                return Response()
            case ["datasets", owner, name, "info", "lfs", "objects", "batch"]:
                return self._batch(json.loads(body))
            case ["datasets", owner, name, "resolve", revision, *path]:
                return self._resolve(request, f"{owner}/{name}", revision, "/".join(path))
            case ["api", "datasets", owner, name, *rest]:
                repo = self.repos.get(f"{owner}/{name}")
                if repo is None:
                    return _refusal("RepoNotFound", 404)
                return self._of_repo(request, f"{owner}/{name}", repo, rest, body)
            case _:
                return _refusal("EntryNotFound", 404)

    def _of_repo(self, request: Request, name: str, repo: Repo, rest: list[str], body: bytes) -> Response:
        if not rest or rest[0] == "revision":
            return self._info(name, repo, rest[1] if rest else "main")
        if rest[0] == "refs":
            return JSONResponse(
                {
                    "branches": [_ref(branch, "heads", commit) for branch, commit in repo.branches.items()],
                    "tags": [_ref(tag, "tags", commit) for tag, commit in repo.tags.items()],
                    "converts": [],
                }
            )
        commit = repo.resolve(rest[1])
        if commit is None:
            return _refusal("RevisionNotFound", 404)
        if rest[0] == "preupload":
            return JSONResponse({"files": [_mode(one) for one in json.loads(body)["files"]], "commitOid": commit})
        if rest[0] == "commit":
            return self._commit(name, repo, unquote(rest[1]), body)
        if rest[0] == "tag":
            tag = json.loads(body)["tag"]
            if tag in repo.tags:
                return _refusal("TagExists", 409)
            repo.tags[tag] = commit
            return JSONResponse({})
        files = repo.commits[commit].files
        if rest[0] == "tree":
            return JSONResponse(self._tree(files, "/".join(rest[2:]), recursive=request.query_params.get("recursive")))
        if rest[0] == "paths-info":
            asked = json.loads(body)["paths"] if "json" in request.headers.get("content-type", "") else _form(body)
            return JSONResponse([self._entry(path, files[path]) for path in asked if path in files])
        return _refusal("EntryNotFound", 404)

    def _create(self, asked: dict[str, Any]) -> Response:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.repos:
            return JSONResponse({"error": "You already created this repo", "url": f"{self.url}/datasets/{name}"}, 409)
        repo = Repo(private=bool(asked.get("private")) or asked.get("visibility") == "private", commits={}, branches={})
        self._store(repo, "main", {".gitattributes": self._keep(b"*.parquet filter=lfs\n")}, "initial commit")
        self.repos[name] = repo
        return JSONResponse({"url": f"{self.url}/datasets/{name}", "name": name})

    def _info(self, name: str, repo: Repo, revision: str) -> Response:
        commit = repo.resolve(revision)
        if commit is None:
            return _refusal("RevisionNotFound", 404)
        siblings = [{"rfilename": path} for path in sorted(repo.commits[commit].files)]
        known = {"id": name, "sha": commit, "private": repo.private, "gated": False, "disabled": False, "tags": []}
        return JSONResponse(
            {**known, "author": "me", "downloads": 0, "likes": 0, "lastModified": WHEN, "siblings": siblings}
        )

    def _batch(self, asked: dict[str, Any]) -> Response:
        objects = []
        for one in asked["objects"]:
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.blobs:
                entry["actions"] = {"upload": {"href": f"{self.url}/_lfs/{one['oid']}", "header": {}}}
            objects.append(entry)
        return JSONResponse({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repo: Repo, branch: str, body: bytes) -> Response:
        parent = repo.branches[branch]
        files, title = dict(repo.commits[parent].files), ""
        for line in body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                title = value["summary"]
                if value.get("parentCommit", parent) != parent:
                    return _refusal("A commit has happened since", 412)
            elif key == "file":
                files[value["path"]] = self._keep(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in self.blobs:
                    return _refusal("LFS object not found", 400)
                files[value["path"]] = value["oid"]
            else:
                del files[value["path"]]
        commit = self._store(repo, branch, files, title)
        return JSONResponse(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.url}/datasets/{name}/commit/{commit}"}
        )

    def _resolve(self, request: Request, name: str, revision: str, path: str) -> Response:
        repo = self.repos.get(name)
        commit = repo.resolve(revision) if repo else None
        if repo is None or commit is None:
            return _refusal("RepoNotFound" if repo is None else "RevisionNotFound", 404)
        known = repo.commits[commit].files.get(unquote(path))
        if known is None:
            return _refusal("EntryNotFound", 404)
        data = self.blobs[known]
        headers = {"ETag": f'"{known}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = request.headers.get("range", "").removeprefix("bytes=")
        if asked:
            first, _, last = asked.partition("-")
            start = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last) if first and last else len(data) - 1, len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return Response(data[start : end + 1], 206, headers)
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(len(data))})
        return Response(data, headers=headers)

    def _tree(self, files: dict[str, str], base: str, *, recursive: str | None) -> list[dict[str, Any]]:
        below = f"{base}/" if base else ""
        inside = [path for path in sorted(files) if path.startswith(below)]
        every = str(recursive).casefold() in {"true", "1"}
        folders = sorted(
            {
                below + "/".join(parts[:depth])
                for path in inside
                for parts in [path[len(below) :].split("/")]
                for depth in range(1, len(parts))
                if every or depth == 1
            }
        )
        entries = [{"type": "directory", "oid": _git(one.encode()), "size": 0, "path": one} for one in folders]
        return entries + [self._entry(path, files[path]) for path in inside if every or "/" not in path[len(below) :]]

    def _entry(self, path: str, known: str) -> dict[str, Any]:
        size = len(self.blobs[known])
        entry: dict[str, Any] = {"type": "file", "oid": known, "size": size, "path": path}
        if len(known) == len(hashlib.sha256().hexdigest()):
            entry |= {"oid": _git(known.encode()), "lfs": {"oid": known, "size": size, "pointerSize": 130}}
        return entry

    def _keep(self, data: bytes) -> str:
        known = _git(data)
        self.blobs[known] = data
        return known

    def _store(self, repo: Repo, branch: str, files: dict[str, str], title: str) -> str:
        parent = repo.branches.get(branch)
        commit = hashlib.sha1(json.dumps([parent, sorted(files.items()), title]).encode()).hexdigest()
        repo.commits[commit] = Commit(files, title, parent)
        repo.branches[branch] = commit
        return commit


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _mode(one: dict[str, Any]) -> dict[str, Any]:
    mode = "lfs" if one["path"].endswith(LARGE) else "regular"
    return {"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}


def _ref(name: str, kind: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def _refusal(what: str, status: int) -> Response:
    return JSONResponse({"error": what}, status, {"X-Error-Code": what, "X-Error-Message": what})


def _form(body: bytes) -> list[str]:
    return [unquote(part.removeprefix("paths=")) for part in body.decode().split("&") if part.startswith("paths=")]
