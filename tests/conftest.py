# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a Prefect server of their own, and no look outside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# before any library that reads them is imported
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    DO_NOT_TRACK="1",
    PREFECT_LOGGING_LEVEL="CRITICAL",
)


LONGEST = {"test_docs.py", "test_kill_matrix.py"}
ALONE = {"test_embedded.py"}  # its engine has two threads, which all but stand still where other tests have a core


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for what takes long."""
    parser.addoption(
        "--soak", action="store_true", help="the whole kill matrix and the largest tables too; about half an hour more"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless asked for; begin with what takes long, end with what needs all cores."""
    first = {item.path for item in items if item.get_closest_marker("model")}
    items.sort(key=lambda item: (item.path.name in ALONE, item.path.name not in LONGEST, item.path not in first))
    if not config.getoption("--soak"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --soak"))


@contextmanager
def own_prefect(home: Path, *, schedules: bool = False) -> Iterator[str]:
    """A Prefect server with a database of its own."""
    from flows.prefect_setup import have_prefect_read, prefect_api, prefect_server

    before = {name: os.environ.get(name) for name in ("PREFECT_HOME", "PREFECT_API_URL")}
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_HOME"] = str(home)
    try:
        with prefect_server(schedules=schedules) as server, prefect_api(server):
            yield server.url
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        have_prefect_read()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all builds of the session."""
    with own_prefect(tmp_path_factory.mktemp("prefect")) as url:
        yield url


@pytest.fixture
def repository() -> Path:
    """The folder of the checkout."""
    return Path(__file__).parent.parent
