"""The toy stack of test_services.py, stopped after each test."""

import contextlib

import pytest
from toy_codec import ToySession
from toy_world import World


@pytest.fixture
async def world():
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)


@pytest.fixture
def asked():
    """What the toy's encoders were asked in this test."""
    ToySession.feedback.clear()
    return ToySession.feedback
