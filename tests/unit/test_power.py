"""Power allocation: budgets met, optimal where theory says, better than the others, and close to brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gocom.common.errors import InvalidInput
from gocom.transmitter.resources.power_allocation import equal, outage_cost, semantic, water_filling, weighted_loss


def instance(seed: int, count: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Weights, gains, costs, budget: Pareto weights, gains of fading packets, rates of 0.5 to 3 bits a symbol."""
    rng = np.random.default_rng(seed)
    n = count or int(rng.integers(2, 90))
    weight, gain = rng.pareto(1.2, n) + 0.05, rng.exponential(1.0, n) + 1e-3
    budget = n * 10 ** rng.uniform(-1, 1.5)
    return weight, gain, outage_cost(rng.uniform(0.5, 3, n), gain, 1.0), float(budget)


@pytest.mark.parametrize("seed", range(200))
def test_semantic_is_never_worse_and_meets_its_budget(seed: int) -> None:
    weight, gain, cost, budget = instance(seed)
    shares = {
        "equal": equal(len(gain), budget), "water": water_filling(gain, 1.0, budget),
        "semantic": semantic(weight, cost, budget),
    }  # fmt: skip
    for power in shares.values():
        assert (power >= 0).all() and power.sum() == pytest.approx(budget, rel=1e-6)
    loss = {name: weighted_loss(power, weight, cost) for name, power in shares.items()}
    assert loss["semantic"] <= min(loss["equal"], loss["water"]) * (1 + 1e-9)


def brute_force(weight: np.ndarray, cost: np.ndarray, budget: float) -> float:
    """Least loss over a grid on the simplex, refined around its best point until that moves no more."""
    n, best, at, width = len(weight), np.inf, np.full(len(weight), 1 / len(weight)), 1.0
    for _ in range(40):
        axis = np.linspace(-width, width, 13 if n < 4 else 9)
        for step in itertools.product(axis, repeat=n - 1):
            share = np.append(at[:-1] + step, 0.0)
            share[-1] = 1 - share[:-1].sum()
            if (share < 0).any():
                continue
            loss = weighted_loss(share * budget, weight, cost)
            if loss < best:
                best, found = loss, share
        at, width = found, width * 0.6
    return best


@pytest.mark.parametrize("seed", range(24))
def test_semantic_is_what_brute_force_finds(seed: int) -> None:
    weight, _, cost, budget = instance(1000 + seed, 2 + seed % 3)
    loss = weighted_loss(semantic(weight, cost, budget), weight, cost)
    assert loss <= brute_force(weight, cost, budget) * 1.02 + 1e-9


def test_slopes_are_equal_where_power_is_given() -> None:
    weight, _, cost, budget = instance(7, 40)
    power = semantic(weight, cost, budget)
    used = power > 0
    slope = weight[used] * cost[used] / power[used] ** 2 * np.exp(-cost[used] / power[used])
    assert slope == pytest.approx(np.full(used.sum(), slope.mean()), rel=1e-6)
    assert (power[used] >= cost[used] / 2 * (1 - 1e-9)).all(), "the convex part"


def test_the_example_of_the_reference() -> None:
    """85 packets, R = 2, Pareto weights, 10 dB: about .163 of the weight is lost, against .259 with equal power."""
    losses = []
    for seed in range(40):
        weight = np.random.default_rng(seed).pareto(1.5, 85) + 1
        weight /= weight.sum()
        cost = outage_cost(np.full(85, 2.0), np.full(85, 10.0), 1.0)
        powers = equal(85, 85.0), semantic(weight, cost, 85.0)
        losses.append([weighted_loss(power, weight, cost) for power in powers])
    flat, best = np.mean(losses, axis=0)
    assert flat == pytest.approx(0.259, abs=1e-3)
    assert 0.1 < best < 0.23


def test_water_filling_is_the_textbook_one() -> None:
    power = water_filling([4.0, 2.0, 0.1, 0.0], 1.0, 1.0)
    assert power == pytest.approx([0.625, 0.375, 0, 0])
    assert water_filling([1.0, 1.0], 1.0, 3.0) == pytest.approx([1.5, 1.5])
    rng, gain = np.random.default_rng(0), np.array([3.0, 1.0, 0.3, 0.05])
    best = np.log2(1 + gain * water_filling(gain, 1.0, 4.0)).sum()
    others = rng.dirichlet(np.ones(4), 20_000) * 4.0
    assert best >= np.log2(1 + gain * others).sum(axis=1).max()


def test_under_one_gain_water_filling_is_equal_power() -> None:
    assert water_filling(np.full(9, 0.7), 1.0, 5.0) == pytest.approx(equal(9, 5.0))


def test_weights_of_nothing() -> None:
    assert semantic([0.0, 0.0], [1.0, 2.0], 3.0).tolist() == [1.5, 1.5]
    assert semantic([0.0, 1.0], [1.0, 2.0], 3.0) == pytest.approx([0, 3])
    assert len(equal(0, 1.0)) == 0


def test_many_packets() -> None:
    weight, _, cost, budget = instance(3, 3000)
    power = semantic(weight, cost, budget)
    assert power.sum() == pytest.approx(budget, rel=1e-6)
    assert weighted_loss(power, weight, cost) < weighted_loss(equal(3000, budget), weight, cost)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: equal(3, 0.0), "budget: 0.0 is not above 0"),
        (lambda: water_filling([0.0], 1.0, 1.0), "gain: none is above 0"),
        (lambda: water_filling([1.0], 0.0, 1.0), "noise: 0.0 is not above 0"),
        (lambda: semantic([1.0, -1.0], [1.0, 1.0], 1.0), "weight: must be a row of finite values, 0 or more"),
        (lambda: semantic([1.0], [1.0, 1.0], 1.0), "cost: 2 values for 1 weights"),
        (lambda: semantic([1.0], [0.0], 1.0), "cost: 0 is not above 0"),
        (lambda: semantic([1.0], [1.0], float("nan")), "budget: nan"),
    ],
)
def test_bad_values_are_named(call, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput, match=words):
        call()
