# SPDX-License-Identifier: Apache-2.0
"""A review server as a user starts it, and requests to it that a browser would not send."""

import http.client
import json
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.flows.forked import Forked


class Server:
    """A running `affectory review`."""

    def __init__(self, root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._told = tempfile.TemporaryDirectory()
        self._out = Path(self._told.name) / "out"
        self.command = Forked(["review", root, "--port", "0", *arguments], self._out, self._out, env)
        self.process = self.command.process
        self.url = ""
        while not self.url:
            assert self.process.is_alive(), self._out.read_text()
            time.sleep(0.02)
            self.url = (re.findall(r"(http://\S+)\s", self._out.read_text()) or [""])[0]
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
        """Press Ctrl-C, and give what the command has said."""
        self.command.send(signal.SIGINT)
        ended = self.command.wait(30)
        assert ended.code == 0, ended.text
        return ended.text

    def kill(self) -> None:
        """End it whatever it is at."""
        self.process.kill()
        self.process.join()
        self._told.cleanup()


@contextmanager
def served(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve a release while the body runs."""
    server = Server(root, *arguments, env=env)
    try:
        yield server
    finally:
        server.kill()
