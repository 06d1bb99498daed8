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
    with LocalStack(seed=_seed(pytestconfig), codecs=pytestconfig.getini("gocom_codecs"), log_folder=folder) as stack:
        yield stack


@pytest.fixture
def gocom_stack(_gocom_stack: LocalStack, pytestconfig: pytest.Config) -> LocalStack:
    """Return a transmitter, a channel emulator and a receiver as processes on free ports, started once for all tests.

    `gocom_stack.client()` returns a client that sends pictures through them. Methods such as `kill` and `pause` inject
    faults. What an earlier test has changed is brought back first: services that it has ended or paused run again, and
    the channel is clean.
    """
    from gocom.client.local_stack import SERVICES  # noqa: PLC0415

    for name in SERVICES:
        _gocom_stack.bring_back(name)
    with _gocom_stack.client() as client:
        client.set_channel("clean", _seed(pytestconfig))
    return _gocom_stack


@pytest.fixture
def channel(gocom_stack: LocalStack, pytestconfig: pytest.Config) -> Iterator[ControlledChannel]:
    """Yield the control of the stack's channel, which is set to "clean" at the beginning and end of each test."""
    from gocom.client.controlled_channel import ControlledChannel  # noqa: PLC0415

    with closing(ControlledChannel(gocom_stack.addresses["channel"], _seed(pytestconfig))) as controlled:
        yield controlled
        gocom_stack.bring_back("channel")  # a channel that the test has ended or paused could not be set


def _seed(config: pytest.Config) -> int:
    text = config.getini("gocom_seed")
    if not (text.isascii() and text.isdigit()):
        raise pytest.UsageError(f"gocom_seed: {text!r} is not a whole number from 0")
    return int(text)
