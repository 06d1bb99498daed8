"""Checks that a value from a caller is a number of the right kind and in its range. Numbers of numpy are taken, too."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from gocom.common.errors import InvalidInput, abbreviate

UINT32_MAX, UINT64_MAX = (1 << 32) - 1, (1 << 64) - 1


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """Return a value as an int. Raises InvalidInput unless it is an integer, not a bool or float, in low to high."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InvalidInput(f"{name}: {abbreviate(value)} is not a whole number; {low} to {high} are allowed")
    number = int(value)
    if not low <= number <= high:
        raise InvalidInput(f"{name}: {abbreviate(number)} is not in {low} to {high}")
    return number


def real_number(name: str, value: Any, low: float, high: float) -> float:
    """Return a value as a float. Raises InvalidInput unless it is a number, not a bool or NaN, in low to high."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InvalidInput(f"{name}: {abbreviate(value)} is not a number; {low:g} to {high:g} are allowed")
    try:
        number = float(value)
    except OverflowError:  # a whole number or a fraction
        words = f"{name}: {abbreviate(value)} is beyond what a float can be; {low:g} to {high:g} are allowed"
        raise InvalidInput(words) from None
    if not low <= number <= high:
        raise InvalidInput(f"{name}: {number:g} is not in {low:g} to {high:g}")
    return number
