# SPDX-License-Identifier: Apache-2.0
"""Ports on loopback for the servers that a run starts."""

import socket


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
