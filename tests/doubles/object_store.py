# SPDX-License-Identifier: Apache-2.0
"""An S3-compatible server on loopback, in a process of its own: moto's, which has conditional writes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flows.ports import free_port

BUCKET = "affectory-tests"


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """Serve an empty bucket; gives the environment in which S3 clients find it."""
    port = free_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "loopback",
        "AWS_SECRET_ACCESS_KEY": "loopback",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        _wait_for(port)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # of an earlier server
        s3fs.S3FileSystem(use_listings_cache=False).mkdir(BUCKET)
        yield environment
    finally:
        server.kill()
        server.wait()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _wait_for(port: int) -> None:
    end_s = time.monotonic() + 120  # it imports botocore, on a busy machine for half a minute
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)
        else:
            return
