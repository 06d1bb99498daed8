"""Arithmetic of the link bench."""

import pytest

from gocom.evaluation.benches.link_bench import PROFILES, LinkResult, goals, median_interval, rates
from gocom.evaluation.report.tables import to_markdown


def result(profile, ratio, packets_per_s=90_000.0):
    return LinkResult(PROFILES[profile], packets_per_s / ratio, packets_per_s, ratio, ratio - 0.1, ratio + 0.1, 0.8, 15)


def test_interval_of_a_median_is_by_order_statistics():
    # Of 15 values the 4th smallest and the 4th largest: 96.5 % of medians lie between (binomial tables).
    assert median_interval(range(1, 16)) == (4, 12)
    assert median_interval(range(1, 7)) == (1, 6)
    # Too few for 95 %: all of them.
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([5.0]) == (5.0, 5.0)


@pytest.mark.parametrize(("ratio", "met"), [(0.86, True), (0.84, False)])
def test_goals_are_judged_by_the_median(ratio, met):
    found = goals([result("erasure", ratio)])
    assert [value for words, value in found.items() if "85%" in words] == [met]
    assert ("MISSED" in to_markdown(rates([result("erasure", ratio)], 15, 8))) == (not met)


def test_the_slowest_profile_decides_about_packets_a_second():
    found = goals([result("clean", 0.9), result("bit flips", 0.7, 49_000.0)])
    assert [value for words, value in found.items() if "every profile" in words] == [False]
