"""Allocation of power to packets under a sum budget: equal, water-filling, semantic.

    gains, noise, weights, rates --> power of each packet, sum = budget

A packet of gain g, noise N and power P has the SNR gP/N. Under Rayleigh fading of mean gain g, a packet of rate R (bits
per complex symbol) is lost with probability 1 - exp(-c/P), c = (2^R - 1) N / g. The weight of a packet is what its loss
costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput

Doubles = npt.NDArray[np.float64]

_BISECTIONS, _INTERVAL = 80, 700.0
"""Number of bisections, and width in nepers of the interval that they halve: enough for the last bits of a double."""
_ALL_PREFIXES, _SIZES_ASIDE = 32, 8
"""Number of packets up to which all prefixes are tried, and number of sizes tried on each side of an estimate for more.
"""


def equal(count: int, budget: float) -> Doubles:
    """Give every packet the same power: float64 [count]. Raises InvalidInput unless the budget is above 0."""
    _check_budget(budget)
    return np.full(count, budget / count) if count else np.zeros(0)


def water_filling(gain: npt.ArrayLike, noise: float, budget: float) -> Doubles:
    """Maximize the capacity by water-filling: P_i = max(0, mu - N/g_i).

    Args:
        gain: float64 [n], linear power gain of each packet, 0 or more.
        noise: N, above 0.
        budget: sum of the powers, above 0.

    Returns:
        float64 [n], which sums to the budget.

    Raises:
        InvalidInput: a value is out of range, or no gain is above 0.
    """
    g = _gains(gain, noise, budget)
    floor = np.divide(noise, g, out=np.full(len(g), np.inf), where=g > 0)
    order = np.sort(floor[np.isfinite(floor)])
    # With the k best packets in use, the level is (budget + sum of their floors) / k. Take the largest k for which the
    # highest of these floors is below the level.
    levels = (budget + np.cumsum(order)) / np.arange(1, len(order) + 1)
    level = levels[np.flatnonzero(order < levels)[-1]]
    return _to_budget(np.maximum(0.0, level - floor), budget)


def weighted_loss(power: npt.ArrayLike, weight: npt.ArrayLike, cost: npt.ArrayLike) -> float:
    """Return sum w_i (1 - exp(-c_i / P_i)), the expected loss in units of weight.

    Args:
        power: float64 [n], P_i, 0 or more.
        weight: float64 [n], w_i.
        cost: float64 [n], c_i, see outage_cost.
    """
    p, w, c = (np.asarray(values, float) for values in (power, weight, cost))
    with np.errstate(divide="ignore"):
        return float(w @ -np.expm1(-np.divide(c, p, out=np.full(len(p), np.inf), where=p > 0)))


def outage_cost(rate: npt.ArrayLike, gain: npt.ArrayLike, noise: float) -> Doubles:
    """Return c_i = (2^R_i - 1) N / g_i, float64 [n].

    Args:
        rate: float64 [n], R_i in bits per complex symbol.
        gain: float64 [n], g_i, mean linear power gain.
        noise: N.
    """
    return np.asarray(np.expm1(np.asarray(rate, float) * np.log(2)) * noise / np.asarray(gain, float))


def semantic(weight: npt.ArrayLike, cost: npt.ArrayLike, budget: float) -> Doubles:
    """Minimize the weighted loss: min sum w_i (1 - exp(-c_i / P_i)) subject to sum P_i = budget, P_i >= 0.

    The loss of a packet is convex in its power only from c/2 on, so an optimum may give some packets no power. For
    the packets in use all slopes w c / P^2 exp(-c/P) equal lambda: with x = c/P, x^2 exp(-x) = lambda c / w. The root
    in the convex part is x = -2 W0(-sqrt(lambda c / w) / 2), for lambda c / w <= 4/e^2. The sum of P falls as lambda
    grows, so bisection finds the budget. The packets in use are a prefix of the order by weight over cost w/c (for a
    given lambda the Lagrangian wants exactly those of w/c >= e lambda); the length of the prefix is searched. Orders
    by w and by 1/c are tried, too.

    The run time depends on the number of kinds of packets, which are packets of equal weight and cost: tenths of a
    second for a hundred kinds, seconds for 20,000 packets of 4000 kinds, as when the SNR of each packet is known.

    Args:
        weight: float64 [n], 0 or more: cost of the loss of each packet.
        cost: float64 [n], above 0: c_i, see outage_cost.
        budget: sum of the powers, above 0.

    Returns:
        float64 [n], which sums to the budget.

    Raises:
        InvalidInput: a value is out of range.
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
    """Kinds of packets: packets of equal weight and cost get equal power.

    Attributes:
        w: float64 [T], weight of each kind.
        c: float64 [T], cost of each kind.
        kind: int [n], kind of each packet.
    """

    w: Doubles
    c: Doubles
    kind: npt.NDArray[np.intp]


def _best_prefix(w: Doubles, c: Doubles, order: npt.NDArray[np.intp], budget: float, kinds: _Kinds) -> Doubles:
    """Return the power of least loss, float64 [n], that gives the whole budget to a prefix of the order."""
    best, best_loss = np.zeros(len(w)), np.inf
    for count in _prefix_sizes(w, c, order, budget):
        used = order[:count]
        counts = np.bincount(kinds.kind[used], minlength=len(kinds.w))
        there = counts > 0
        within = _power_at_common_slope(kinds.w[there], kinds.c[there], counts[there], budget)
        if within is None:
            continue
        of_kind, power = np.zeros(len(kinds.w)), np.zeros(len(w))
        of_kind[there] = within
        power[used] = of_kind[kinds.kind[used]]
        loss = weighted_loss(power, w, c)
        if loss < best_loss:
            best, best_loss = power, loss
    return best


def _prefix_sizes(w: Doubles, c: Doubles, order: npt.NDArray[np.intp], budget: float) -> list[int]:
    """Return the sizes of prefixes to try: all if there are few packets, else those near the Lagrangian's choice."""
    n = len(order)
    if n <= _ALL_PREFIXES:
        return list(range(1, n + 1))
    low, high = 1, n
    # A prefix is short enough if the budget suffices for x <= 1 for all of its packets.
    while low < high:
        middle = (low + high + 1) // 2
        used = order[:middle]
        slope = np.exp(-1) * (w[used] / c[used]).min()
        if _power_for_slope(w[used], c[used], slope).sum() <= budget:
            low = middle
        else:
            high = middle - 1
    return sorted({max(1, min(n, low + step)) for step in range(-_SIZES_ASIDE, _SIZES_ASIDE + 1)} | {n})


def _power_at_common_slope(w: Doubles, c: Doubles, counts: npt.NDArray[np.intp], budget: float) -> Doubles | None:
    """Return the power of each kind at the common slope for which the sum is the budget.

    `counts` has the number of packets of each kind, all of which are in use. None if x would exceed 2 for some packet.
    """
    top = 4 * np.exp(-2) * (w / c).min()
    if counts.sum() == 1:
        return np.array([budget])
    if counts @ _power_for_slope(w, c, top) > budget:
        return None
    low, high = np.log(top) - _INTERVAL, np.log(top)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if counts @ _power_for_slope(w, c, np.exp(middle)) > budget:
            low = middle
        else:
            high = middle
    power = _power_for_slope(w, c, np.exp(high))
    return np.asarray(power * (budget / (counts @ power)))


def _power_for_slope(w: Doubles, c: Doubles, slope: float) -> Doubles:
    from scipy.special import lambertw  # noqa: PLC0415 - a transmitter starts quicker without it

    root = -np.sqrt(np.minimum(slope * c / w, 4 * np.exp(-2))) / 2
    x = -2 * lambertw(np.maximum(root, -np.exp(-1))).real
    return np.asarray(c / np.maximum(x, 1e-300))


def _to_budget(power: Doubles, budget: float) -> Doubles:
    """Scale the powers to the exact budget, to undo rounding."""
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
