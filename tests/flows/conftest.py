# SPDX-License-Identifier: Apache-2.0
import pytest

from generators.backends import echo


@pytest.fixture
def asked(monkeypatch):
    """Every request that reaches the scripted model."""
    requests = []
    answer = echo.reply_to

    def record(request, faults=None):
        requests.append(request)
        return answer(request, faults)

    monkeypatch.setattr(echo, "reply_to", record)
    return requests
