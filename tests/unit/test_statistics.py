"""The one statistic: Student's interval, the paired t test and Holm's correction, against scipy and worked examples."""

import math

import numpy as np
import pytest
from scipy import stats

from gocom.evaluation.measure.statistics import MIN_PICTURES, holm, interval, p_value, paired


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(5, 2, 12)


def test_the_interval_is_students(values):
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected) and mean == pytest.approx(values.mean())


def test_an_interval_misses_one_in_twenty():
    """Of twelve pictures; a bootstrap's would miss about one in twelve. 5 % of 2000 are 100 (sd 9.7)."""
    rng = np.random.default_rng(2)
    found = [interval(rng.normal(0, 1, 12)) for _ in range(2000)]
    assert 70 <= sum(not low < 0 < high for _, low, high in found) <= 130


def test_few_values():
    assert all(map(math.isnan, interval([])))
    assert interval([3.0]) == (3.0, -math.inf, math.inf)  # one picture says nothing of others
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)
    assert all(map(math.isnan, interval([1.0, math.nan])))


def test_paired_differences_are_surer_than_means(values):
    offset = np.random.default_rng(3).normal(0, 0.01, len(values))
    mean, low, high = paired(values + 0.1 + offset, values)
    assert 0.08 < low < mean < high < 0.13
    assert interval(values)[2] - interval(values)[1] > 1


def test_p_value_is_that_of_the_paired_t_test(values):
    others = values + np.random.default_rng(4).normal(0.5, 1, len(values))
    assert p_value(values, others) == pytest.approx(stats.ttest_rel(values, others).pvalue)
    assert p_value(others, values) == p_value(values, others)


def test_the_test_and_the_interval_agree(values):
    for shift in np.linspace(0, 2, 21):
        others = values + shift + np.random.default_rng(5).normal(0, 1, len(values))
        _, low, high = paired(values, others)
        assert (p_value(values, others) < 0.05) == (not low < 0 < high)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([], [], 1.0),
        ([9.0] * (MIN_PICTURES - 1), [1.0] * (MIN_PICTURES - 1), 1.0),
        ([9.0] * MIN_PICTURES, [1.0] * MIN_PICTURES, 0.0),
        ([9.0] * MIN_PICTURES, [9.0] * MIN_PICTURES, 1.0),
        ([math.nan, *[9.0] * 7], [1.0] * 8, 1.0),
        ([math.inf, *[9.0] * 7], [1.0] * 8, 1.0),
    ],
    ids=["none", "few", "enough", "the same", "not a number", "infinite"],
)
def test_p_values_at_the_ends(a, b, expected):
    assert p_value(a, b) == expected


def test_holm():
    """Holm's procedure: sorted, against 0.05 / 4, 0.05 / 3, 0.05 / 2 and 0.05, up to the first that is larger."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.02, 0.001, 0.04]) == [True, True, True]
    assert holm([0.03, 0.001, 0.04]) == [False, True, False]  # 0.04 alone would stand
    assert holm([0.02] * 3) == [False] * 3 and holm([0.05]) == [True] and holm([]) == []


def test_of_equals_a_family_has_one_false_difference_in_twenty():
    """Ten comparisons of equals: any at all in 5 % of 1000 families, 50 (sd 6.9)."""
    rng = np.random.default_rng(6)
    families = [[p_value(rng.normal(0, 1, 12), np.zeros(12)) for _ in range(10)] for _ in range(1000)]
    assert 25 <= sum(any(holm(family)) for family in families) <= 75
