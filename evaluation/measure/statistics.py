"""How sure a mean over pictures is: one statistic for all studies.

Pictures are the sample: the seeds of a picture are averaged before. A mean comes with Student's 95 % interval; two
methods are compared by the paired t test on the same pictures, and the tests of one family (one metric of one table)
are corrected together as Holm has it. A bootstrap over a dozen pictures would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Interval = tuple[float, float, float]
"""(mean, low, high)."""
LEVEL = 0.05
"""Chance of an interval to miss, and of one false difference or more in a family."""
MIN_PICTURES = 6
"""Fewer decide nothing: Student's test is right for normal differences, and those of a handful may be others."""


def interval(values: npt.ArrayLike) -> Interval:
    """Mean of values [pictures] with Student's 95 % interval.

    Returns:
        nan, nan, nan of no values. One picture says nothing of others: (mean, -inf, inf).
    """
    sample = np.asarray(values, np.float64)
    if not sample.size:
        return math.nan, math.nan, math.nan
    mean = float(sample.mean())
    if sample.size == 1:
        return mean, -math.inf, math.inf
    half = float(stdtrit(sample.size - 1, 1 - LEVEL / 2) * _error(sample))
    return mean, mean - half, mean + half


def paired(a: npt.ArrayLike, b: npt.ArrayLike) -> Interval:
    """Interval of a - b, values [pictures] of the same pictures in the same order."""
    return interval(np.asarray(a, np.float64) - np.asarray(b, np.float64))


def p_value(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided paired t test of values [pictures]: how likely so large a mean difference is if there is none.

    Returns:
        1 where fewer than MIN_PICTURES, or values that are not numbers, can tell nothing. Of differences that are all
        equal: 1 if they are 0, else 0.
    """
    sample = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if sample.size < MIN_PICTURES or not np.isfinite(sample).all():
        return 1.0
    mean, error = float(sample.mean()), _error(sample)
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(sample.size - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of a family's tests stand at 5 % (Holm 1979): the smallest p against 5 % / n, the next against / (n - 1),
    and so on to the first that does not."""
    found = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[index] <= LEVEL / (len(p_values) - rank):
            break
        found[index] = True
    return found


def _error(sample: npt.NDArray[np.float64]) -> float:
    """Standard error of the mean."""
    return float(sample.std(ddof=1) / math.sqrt(sample.size))
