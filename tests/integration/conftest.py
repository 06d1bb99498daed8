"""The toy stack of test_services.py, stopped after each test."""

import contextlib

import pytest
from toy_world import World


@pytest.fixture
async def world():
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)
