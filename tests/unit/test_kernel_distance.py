"""The kernel distance against a sum written out, and what it says of sets that do and do not agree."""

from itertools import pairwise

import numpy as np
import pytest

from gocom.common.errors import InvalidInput
from gocom.evaluation.measure.kernel_distance import kernel, kernel_distance, mmd2


def features(seed: int, count: int = 500, shift: float = 0.0, depth: int = 32) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, depth)) + shift).astype(np.float32)


def written_out(a: np.ndarray, b: np.ndarray) -> float:
    def k(x, y):
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    of_a = [k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    of_b = [k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    across = [k(x, y) for x in a for y in b]
    return sum(of_a) / len(of_a) + sum(of_b) / len(of_b) - 2 * sum(across) / len(across)


def test_it_is_the_sum_over_pairs():
    a, b = features(0, 9, depth=5), features(1, 7, 0.5, depth=5)
    some_a, some_b = np.arange(9) < 6, np.arange(7) > 2
    chosen = np.stack([np.ones(9, bool), some_a]), np.stack([np.ones(7, bool), some_b])
    found = mmd2(kernel(a, a), kernel(b, b), kernel(a, b), *chosen)
    assert found == pytest.approx([written_out(a, b), written_out(a[some_a], b[some_b])], rel=1e-12)


def test_unbiased_on_sets_of_one_distribution():
    values = [kernel_distance(features(2 * i), features(2 * i + 1))[0] for i in range(40)]
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3.5 * standard_error
    assert min(values) < 0 < max(values)


def test_it_grows_with_a_shift_and_the_interval_says_so():
    found = [kernel_distance(features(0), features(1, shift=shift)) for shift in (0.0, 0.1, 0.2, 0.4)]
    assert all(low < value < high for value, low, high in found)
    assert found[0][2] > 0 > found[0][1]
    assert all(one[2] < other[1] for one, other in pairwise(found[1:]))
    assert kernel_distance(features(0), features(1)) == found[0]


def test_the_interval_holds_the_truth():
    """Of normal coordinates with a mean of 0 and of s the kernels' means have a closed form."""
    depth, shift, draws = 32, 0.2, 40
    truth = _mean_kernel(depth, 0, 0) + _mean_kernel(depth, shift, shift) - 2 * _mean_kernel(depth, 0, shift)
    found = [kernel_distance(features(100 + i), features(200 + i, shift=shift, depth=depth)) for i in range(draws)]
    assert np.mean([value for value, _, _ in found]) == pytest.approx(truth, rel=0.05)
    assert sum(low <= truth <= high for _, low, high in found) >= 34  # at 95 %, fewer has a chance of 1 %


def _mean_kernel(depth: int, mean_x: float, mean_y: float) -> float:
    """E (p + 1)^3 of p = x·y / D: from the cumulants of x·y, which add up over coordinates."""
    a, b = mean_x**2, mean_y**2
    first = depth * mean_x * mean_y
    second = depth * (1 + a + b)
    third = depth * 6 * mean_x * mean_y
    moments = first, second + first**2, third + 3 * first * second + first**3
    one, two, three = (moment / depth**power for power, moment in enumerate(moments, 1))
    return three + 3 * two + 3 * one + 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (features(0, 499), features(1), "originals: 499 pictures; the kernel distance needs 500"),
        (features(0), features(1, 3), "images: 3 pictures; the kernel distance needs 500"),
        (features(0), features(1, depth=8), "images: features"),
    ],
)
def test_too_few_are_refused(a, b, message):
    with pytest.raises(InvalidInput, match=message):
        kernel_distance(a, b)
