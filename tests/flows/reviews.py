# SPDX-License-Identifier: Apache-2.0
"""A review server as a user starts it, and requests to it that a browser would not send."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server:
    """A running `affectory review`."""

    def __init__(self, root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "review", str(root), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        assert self.process.stdout is not None
        self.url, told = "", []
        while not self.url:
            told.append(self.process.stdout.readline())
            assert told[-1], (told, self.process.communicate()[1])
            self.url = (re.findall(r"http://\S+", told[-1]) or [""])[0]
        self.address = urlsplit(self.url).netloc

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request as our own page would, but for the headers given; an empty one is left out."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        sent = {"Host": self.address, "Origin": f"http://{self.address}"} | dict(headers or {})
        connection.putrequest(method, path, skip_host=True)
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        for name, value in (sent | ({"Content-Length": str(len(content))} if method == "POST" else {})).items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(content or None)
        return connection.getresponse()

    def get(self, path: str) -> Any:
        """The JSON of a path."""
        reply = self.send("GET", path)
        content = reply.read()
        assert reply.status == 200, content
        return json.loads(content)

    def begin(self, rater: str) -> str:
        """The key of a rater."""
        reply = self.send("POST", "/raters", {"rater": rater})
        content = reply.read()
        assert reply.status == 200, content
        return str(json.loads(content)["key"])

    def end(self) -> str:
        """Press Ctrl-C, and give what the command says then."""
        self.process.send_signal(signal.SIGINT)
        said, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return said


@contextmanager
def served(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve a release while the body runs."""
    server = Server(root, *arguments, env=env)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()
