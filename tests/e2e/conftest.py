"""The stack of docker-compose.yml, brought up once for all tests of this folder."""

import os
from pathlib import Path

import pytest
from accounting import as_markdown, write_table
from engine import ROOT, Stack, compose_command, connect

OUT = ROOT / "out" / "e2e"
ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[ROWS] = []


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))  # the first one builds the images


@pytest.fixture(scope="session")
def engine():
    connected, why = connect()
    if connected is None:
        pytest.skip(f"no Docker engine answers, so nothing of this folder runs ({why})")
    if compose_command() is None:
        connected.close()
        pytest.skip("no compose: neither `docker compose` nor docker-compose is installed")
    yield connected
    connected.close()


@pytest.fixture(scope="session")
def stack(engine):
    folder = OUT / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        os.chown(folder, 1000, 1000)
    running = Stack(engine, compose_command(), folder)
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture
def record(request):
    """Takes a row of the fault table."""

    def take(row):
        rows = request.config.stash[ROWS]
        rows.append(row)
        write_table(OUT, rows)

    return take


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[ROWS]:
        terminalreporter.section("faults on the running stack")
        terminalreporter.write(as_markdown(config.stash[ROWS]))
