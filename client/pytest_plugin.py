"""Pytest plugin, loaded wherever gocom is installed, with fixtures for tests of software under network faults.

    def test_a_picture_arrives_in_spite_of_loss(gocom_stack, channel):
        channel.set("packet_erasure:rate=0.2")
        with gocom_stack.client() as client: ...

docs/faults.md has an example to copy. Large modules are imported only when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gocom.client.controlled_channel import ControlledChannel
    from gocom.client.local_stack import LocalStack


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the settings of this plugin in pytest.ini or pyproject.toml."""
    parser.addini("gocom_codecs", "codecs that gocom_stack loads before the first test", type="args", default=["jpeg"])
    parser.addini("gocom_seed", "seed of the channel's randomness", default="0")


@pytest.fixture(scope="session")
def _gocom_stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Start the services once for all tests, and yield the stack."""
    from gocom.client.local_stack import LocalStack  # noqa: PLC0415 - imported only when the fixture is used

    folder = tmp_path_factory.mktemp("gocom")
    codecs, seed = pytestconfig.getini("gocom_codecs"), int(pytestconfig.getini("gocom_seed"))
    with LocalStack(seed=seed, codecs=codecs, log_folder=folder) as stack:
        yield stack


@pytest.fixture
def gocom_stack(_gocom_stack: LocalStack) -> LocalStack:
    """Return a transmitter, a channel emulator and a receiver as processes on free ports, started once for all tests.

    `gocom_stack.client()` returns a client that sends pictures through them. Methods such as `kill` and `pause` inject
    faults. A service that an earlier test has ended or paused is started or resumed first.
    """
    from gocom.client.local_stack import SERVICES  # noqa: PLC0415
    from gocom.common.errors import InvalidInput  # noqa: PLC0415

    for name in SERVICES:
        try:
            _gocom_stack.resume(name)
        except InvalidInput:
            _gocom_stack.start_one(name)
    return _gocom_stack


@pytest.fixture
def channel(gocom_stack: LocalStack, pytestconfig: pytest.Config) -> Iterator[ControlledChannel]:
    """Yield the control of the stack's channel, which is set to "clean" at the beginning and end of each test."""
    from gocom.client.controlled_channel import ControlledChannel  # noqa: PLC0415

    seed = int(pytestconfig.getini("gocom_seed"))
    with closing(ControlledChannel(gocom_stack.addresses["channel"], seed)) as controlled:
        yield controlled
