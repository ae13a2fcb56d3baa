# SPDX-License-Identifier: Apache-2.0
"""The scripted model with other replies where a test wants them."""

from collections.abc import Callable, Mapping

import pytest

from generators.backends import echo
from generators.chat import ChatReply, ChatRequest

Script = Callable[[int, ChatRequest, str], ChatReply | str | None]
"""From the number of a request for a line, the request and the good reply to what is answered; None: the good one."""


def answer_lines(monkeypatch: pytest.MonkeyPatch, script: Script, field: str = '"line"') -> list[ChatRequest]:
    """Answer requests whose schema holds a field by a script; the list returned grows by every such request."""
    answer = echo.reply_to
    asked: list[ChatRequest] = []

    def reply_to(request: ChatRequest, faults: Mapping[str, float] | None = None) -> ChatReply:
        good = answer(request, faults)
        if field not in (request.schema or ""):
            return good
        asked.append(request)
        said = script(len(asked) - 1, request, good.text)
        if said is None:
            return good
        return said if isinstance(said, ChatReply) else ChatReply(said, "stop", good.prompt_tokens, len(said.split()))

    monkeypatch.setattr(echo, "reply_to", reply_to)
    return asked
