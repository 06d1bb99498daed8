"""When a difference counts: Student's test of paired differences, and Holm's correction where many are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import t

LEVEL = 0.05
MIN_PICTURES = 6
"""Fewer decide nothing: Student's test is right for normal differences, and those of a handful may be others."""


def p_value(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided, of a mean of 0; 1 where there are too few pictures.

    Args:
        differences: float64 [N], of two methods on the same pictures.
    """
    count, mean = len(differences), differences.mean() if len(differences) else 0.0
    if count < MIN_PICTURES or mean == 0:
        return 1.0
    error = differences.std(ddof=1) / math.sqrt(count)
    return 0.0 if error == 0 else float(2 * t.sf(abs(mean) / error, count - 1))


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several count, so that of equals one in twenty times any of them does (Holm 1979)."""
    found, order = [False] * len(p_values), np.argsort(p_values, kind="stable")
    for rank, index in enumerate(order):
        if p_values[index] >= LEVEL / (len(p_values) - rank):
            break
        found[index] = True
    return found
