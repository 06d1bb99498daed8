"""Pytest plugin, there wherever gocom is installed: a stack of services and a channel to break things with.

    def test_a_picture_arrives_in_spite_of_loss(gocom_stack, channel):
        channel.set("packet_erasure:rate=0.2")
        with gocom_stack.client() as client: ...

docs/faults.md has an example to copy. Nothing heavy is imported before a fixture is used.
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
    """Settings for pytest.ini or pyproject.toml."""
    parser.addini("gocom_codecs", "codecs that gocom_stack loads before the first test", type="args", default=["jpeg"])
    parser.addini("gocom_seed", "seed of the channel's randomness", default="0")


@pytest.fixture(scope="session")
def _gocom_stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    from gocom.client.local_stack import LocalStack  # noqa: PLC0415 - only where it is used

    folder = tmp_path_factory.mktemp("gocom")
    codecs, seed = pytestconfig.getini("gocom_codecs"), int(pytestconfig.getini("gocom_seed"))
    with LocalStack(seed=seed, codecs=codecs, log_folder=folder) as stack:
        yield stack


@pytest.fixture
def gocom_stack(_gocom_stack: LocalStack) -> LocalStack:
    """Transmitter, channel emulator and receiver as processes on free ports, started once for all tests.

    `gocom_stack.client()` sends pictures through it; `kill`, `pause` and their kin break it. What an earlier test
    killed or paused is brought back.
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
    """The stack's channel, clean at the beginning and at the end of each test."""
    from gocom.client.controlled_channel import ControlledChannel  # noqa: PLC0415

    seed = int(pytestconfig.getini("gocom_seed"))
    with closing(ControlledChannel(gocom_stack.addresses["channel"], seed)) as controlled:
        yield controlled
