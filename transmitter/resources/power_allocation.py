"""Power of packets under a sum budget: equal, water-filling, semantic.

    gains, noise, weights, rates --> power of each packet, sum = budget

A packet of gain g, noise N and power P has the SNR gP/N. Under Rayleigh fading of mean gain g a packet of rate R (bits
a complex symbol) is lost with probability 1 - exp(-c/P), c = (2^R - 1) N / g; its loss costs its weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import lambertw

from gocom.common.errors import InvalidInput

Doubles = npt.NDArray[np.float64]

_BISECTIONS, _RANGE = 80, 700.0
"""Halvings of a bracket of so many nepers: to the last bits of a double."""
_FEW, _ABOUT = 32, 8
"""Packets whose prefixes are all tried; beyond, so many sizes to each side of the likely one."""


def equal(count: int, budget: float) -> Doubles:
    """float64 [count]: the same for all. Raises InvalidInput."""
    _check_budget(budget)
    return np.full(count, budget / count) if count else np.zeros(0)


def water_filling(gain: npt.ArrayLike, noise: float, budget: float) -> Doubles:
    """Most capacity: P_i = max(0, mu - N/g_i).

    Args:
        gain: float64 [n], 0 or more: linear power gain of each packet.
        noise: N, above 0.
        budget: of the sum, above 0.

    Returns:
        float64 [n], summing to the budget.

    Raises:
        InvalidInput: a value out of range, or no gain above 0.
    """
    g = _gains(gain, noise, budget)
    floor = np.divide(noise, g, out=np.full(len(g), np.inf), where=g > 0)
    order = np.sort(floor[np.isfinite(floor)])
    # With the k best in use the level is (budget + sum of their floors) / k; the largest k whose worst is below it.
    levels = (budget + np.cumsum(order)) / np.arange(1, len(order) + 1)
    level = levels[np.flatnonzero(order < levels)[-1]]
    return _to_budget(np.maximum(0.0, level - floor), budget)


def weighted_loss(power: npt.ArrayLike, weight: npt.ArrayLike, cost: npt.ArrayLike) -> float:
    """sum w_i (1 - exp(-c_i / P_i)): what is expected to be lost, in units of weight."""
    p, w, c = (np.asarray(values, float) for values in (power, weight, cost))
    with np.errstate(divide="ignore"):
        return float(w @ -np.expm1(-np.divide(c, p, out=np.full(len(p), np.inf), where=p > 0)))


def outage_cost(rate: npt.ArrayLike, gain: npt.ArrayLike, noise: float) -> Doubles:
    """float64 [n]: c_i = (2^R_i - 1) N / g_i."""
    return np.asarray(np.expm1(np.asarray(rate, float) * np.log(2)) * noise / np.asarray(gain, float))


def semantic(weight: npt.ArrayLike, cost: npt.ArrayLike, budget: float) -> Doubles:
    """Least weighted loss: min sum w_i (1 - exp(-c_i / P_i)) subject to sum P_i = budget, P_i >= 0.

    A packet's loss is convex in its power only from c/2 on, so an optimum may give some packets nothing. Among those in
    use the slopes w c / P^2 exp(-c/P) are all lambda: with x = c/P, x^2 exp(-x) = lambda c / w. The root in the convex
    part is x = -2 W0(-sqrt(lambda c / w) / 2), for lambda c / w <= 4/e^2. The sum of P falls as lambda grows; bisection
    finds the budget. Which packets are in use: those of most weight over cost w/c (for a given lambda the Lagrangian
    wants exactly those of w/c >= e lambda), as many as serve best; orders by w and by 1/c are tried too.

    The time goes with the kinds of packets, alike in weight and in cost: tenths of a second for a hundred, seconds for
    20,000 packets of 4000 kinds, as when the SNR of each is known.

    Args:
        weight: float64 [n], 0 or more: what the loss of each packet costs.
        cost: float64 [n], above 0: c_i, see outage_cost.
        budget: of the sum, above 0.

    Returns:
        float64 [n], summing to the budget.

    Raises:
        InvalidInput: a value out of range.
    """
    w, c = _values("weight", weight), _values("cost", cost)
    _check_budget(budget)
    if len(w) != len(c):
        raise InvalidInput(f"cost: {len(c)} values for {len(w)} weights")
    if not (c > 0).all():
        raise InvalidInput(f"cost: {c.min():g} is not above 0")
    useful = np.flatnonzero(w > 0)
    if not len(useful):
        return equal(len(w), budget)
    best = equal(len(w), budget)
    kinds, kind = np.unique(np.stack([w, c]), axis=1, return_inverse=True)
    for merit in (w / c, w, 1 / c):
        order = useful[np.argsort(-merit[useful], kind="stable")]
        power = _best_prefix(w, c, order, budget, _Kinds(kinds[0], kinds[1], kind.ravel()))
        if weighted_loss(power, w, c) < weighted_loss(best, w, c):
            best = power
    return _to_budget(best, budget)


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Packets that are alike get alike: weight and cost, float64 [T], and of which kind each packet is, int [n]."""

    w: Doubles
    c: Doubles
    kind: npt.NDArray[np.intp]


def _best_prefix(w: Doubles, c: Doubles, order: npt.NDArray[np.intp], budget: float, kinds: _Kinds) -> Doubles:
    """The best power that gives packets of a prefix of the order all of the budget."""
    best, best_loss = np.zeros(len(w)), np.inf
    for count in _counts(w, c, order, budget):
        used = order[:count]
        counts = np.bincount(kinds.kind[used], minlength=len(kinds.w))
        there = counts > 0
        within = _on_slope(kinds.w[there], kinds.c[there], counts[there], budget)
        if within is None:
            continue
        of_kind, power = np.zeros(len(kinds.w)), np.zeros(len(w))
        of_kind[there] = within
        power[used] = of_kind[kinds.kind[used]]
        loss = weighted_loss(power, w, c)
        if loss < best_loss:
            best, best_loss = power, loss
    return best


def _counts(w: Doubles, c: Doubles, order: npt.NDArray[np.intp], budget: float) -> list[int]:
    """Sizes of prefixes to try: all of few; of many those about where the Lagrangian's choice crosses the budget."""
    n = len(order)
    if n <= _FEW:
        return list(range(1, n + 1))
    low, high = 1, n
    # A prefix that meets the budget with all its packets at x <= 1 is not too long.
    while low < high:
        middle = (low + high + 1) // 2
        used = order[:middle]
        slope = np.exp(-1) * (w[used] / c[used]).min()
        if _power(w[used], c[used], slope).sum() <= budget:
            low = middle
        else:
            high = middle - 1
    return sorted({max(1, min(n, low + step)) for step in range(-_ABOUT, _ABOUT + 1)} | {n})


def _on_slope(w: Doubles, c: Doubles, counts: npt.NDArray[np.intp], budget: float) -> Doubles | None:
    """Power of each kind, so many packets of it all in use, at the slope whose sum is the budget.

    None where x would be beyond 2.
    """
    top = 4 * np.exp(-2) * (w / c).min()
    if counts.sum() == 1:
        return np.array([budget])
    if counts @ _power(w, c, top) > budget:
        return None
    low, high = np.log(top) - _RANGE, np.log(top)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if counts @ _power(w, c, np.exp(middle)) > budget:
            low = middle
        else:
            high = middle
    power = _power(w, c, np.exp(high))
    return np.asarray(power * (budget / (counts @ power)))


def _power(w: Doubles, c: Doubles, slope: float) -> Doubles:
    root = -np.sqrt(np.minimum(slope * c / w, 4 * np.exp(-2))) / 2
    x = -2 * lambertw(np.maximum(root, -np.exp(-1))).real
    return np.asarray(c / np.maximum(x, 1e-300))


def _to_budget(power: Doubles, budget: float) -> Doubles:
    """Scaled by what rounding left."""
    return np.asarray(power * (budget / power.sum()))


def _gains(gain: npt.ArrayLike, noise: float, budget: float) -> Doubles:
    g = _values("gain", gain)
    _check_budget(budget)
    if not (np.isfinite(noise) and noise > 0):
        raise InvalidInput(f"noise: {noise!r} is not above 0")
    if not (g > 0).any():
        raise InvalidInput("gain: none is above 0")
    return g


def _values(name: str, values: npt.ArrayLike) -> Doubles:
    array = np.asarray(values, float)
    if array.ndim != 1 or not (np.isfinite(array) & (array >= 0)).all():
        raise InvalidInput(f"{name}: must be a row of finite values, 0 or more")
    return array


def _check_budget(budget: float) -> None:
    if not (np.isfinite(budget) and budget > 0):
        raise InvalidInput(f"budget: {budget!r} is not above 0")
