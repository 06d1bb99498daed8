"""How many cases each suite here tries, and the services that some of them talk to."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The toy codec and its world, which the integration tests use too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

CASES = int(os.environ.get("GOCOM_FUZZ_CASES", "200"))
"""Of each message and each decoder; `make fuzz` sets 2000."""


def pytest_configure(config):
    # The same cases every time, unless others are asked for: a gate must not fail by luck.
    seeded = config.getoption("hypothesis_seed", None) is not None
    settings.register_profile(
        "gocom", max_examples=CASES, deadline=None, derandomize=not seeded, database=None, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip
    settings.load_profile("gocom")


@pytest.fixture(scope="module")
def stack():
    """Receiver, emulator and transmitter around codecs without nets; see fuzz_stack.py."""
    from fuzz_stack import FuzzStack

    with FuzzStack() as running:
        yield running
