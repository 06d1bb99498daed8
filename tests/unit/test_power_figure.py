"""The numbers that docs/channel.md quotes of power allocation, and the emulator on the same example."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gocom.evaluation.channel.power_figure import PACKETS, allocate, loss, lost_by_the_emulator, weights
from gocom.transmitter.resources.power_allocation import outage_cost, weighted_loss

DOCS = Path(__file__).resolve().parents[2] / "docs" / "channel.md"
ROWS = re.findall(r"^\| (\d\.\d+) \| (0\.\d+) \| (0\.\d+) \| (0\.\d+) \|$", DOCS.read_text("utf-8"), re.MULTILINE)


def test_the_table_is_there() -> None:
    assert [float(row[0]) for row in ROWS] == [1.05, 1.1, 1.5, 3.0]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_of_the_docs_holds(row: tuple[str, ...]) -> None:
    alpha, *quoted = map(float, row)
    measured = [loss(name, 10.0, alpha) for name in ("equal", "water_filling", "semantic")]
    assert measured == pytest.approx(quoted, abs=5e-4)


def test_single_draws_lie_where_the_docs_say() -> None:
    cost = outage_cost(np.full(PACKETS, 2.0), np.full(PACKETS, 10.0), 1.0)
    draws = [weighted_loss(allocate("semantic", w, 10.0), w, cost) for w in map(weights, range(40))]
    assert min(draws) == pytest.approx(0.05, abs=5e-3) and max(draws) == pytest.approx(0.23, abs=5e-3)


@pytest.mark.parametrize("name", ["equal", "semantic"])
def test_the_emulator_loses_what_the_formula_says(name: str) -> None:
    weight = weights(3)
    power = allocate(name, weight, 7.0)
    expected = weighted_loss(power, weight, outage_cost(np.full(PACKETS, 2.0), np.full(PACKETS, 10**0.7), 1.0))
    measured, error = lost_by_the_emulator(power, weight, 7.0, 5)
    assert abs(measured - expected) < 4 * error and error < 0.02 * expected + 0.005


def test_power_is_given_up_only_near_the_threshold() -> None:
    """theta = 3 is 4.8 dB: docs say 5 dB above it."""
    for seed in range(5):
        assert (allocate("semantic", weights(seed), 4.0) == 0).any()
