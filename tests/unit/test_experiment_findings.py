"""Sentences made from rows: knees, shares, and what half is left of."""

from gocom.evaluation.experiment.findings import Half, Knee, Share

STEPS = (1, 2, 4, 6, 8, 10, 13, 16, 25, 50)
ALIKE = "draws_alike_in_percent"
HALF = Half({"A picture": ({"start": "no noise"}, "agrees"), "Two draws": ({"start": "drawn"}, ALIKE)})
ACCURACY = Share("with 48 % lost", {"rate": 0.48}, {"rate": 0.0}, ("correct",), ("method",))


def row(picture, seed=0, **keys):
    return {"set": "labelled", "picture": picture, "seed": seed} | keys


def step_rows(**keys):
    """Distance falls until 8 steps; that of 2 steps is by chance as good as any."""
    distances = {n: 0.3 if n >= 8 else 0.3 + 0.05 * (8 - n) for n in STEPS} | {2: 0.3}
    return [row(p, steps=n, distance=d + i / 100, **keys) for n, d in distances.items() for i, p in enumerate("abcd")]


def test_the_knee_is_where_more_steps_cease_to_help():
    assert Knee("steps").of(step_rows()) == 8
    both = step_rows(start="no noise") + [r for r in step_rows(start="drawn noise") if r["steps"] in (1, 50)]
    first, second = Knee("steps", ("start",))(both)
    assert "no noise: 50 steps are less than 0.005 better in deep-feature distance than 8;" in first
    assert "drawn noise: 50 steps" in second and "than no fewer; its mean is least at 50." in second


def test_a_difference_that_may_be_large_is_no_knee():
    rows = [row(p, steps=n, distance=0.3 + (n < 50) * 0.1 * (p == "a")) for n in STEPS for p in "abcd"]
    assert Knee("steps").of(rows) == 50, "the mean is within 0.03, its interval is not within 0.005"
    assert Knee("steps", level=1).of(rows) == 1


def test_one_picture_has_no_knee():
    assert Knee("steps").of([r for r in step_rows() if r["picture"] == "a"]) is None
    (said,) = Knee("steps")([r for r in step_rows() if r["picture"] == "a"])
    assert "than no fewer;" in said


def test_shares_of_the_clean_accuracy():
    rows = [
        row(p, method="ours", rate=rate, correct=int(p in good))
        for rate, good in ((0.0, "abcd"), (0.3, ""), (0.48, "ab"))
        for p in "abcde"
    ]
    assert ACCURACY(rows) == ["ours, with 48 % lost: accuracy of 1000 classes in % 40.0 of 80.0: 50.0%."]
    nothing = [r | {"correct": 0} for r in rows]
    assert ACCURACY(nothing) == ["ours, with 48 % lost: accuracy of 1000 classes in % 0.0 of 0.0."]
    assert ACCURACY(rows[:5]) == ["ours, with 48 % lost: accuracy of 1000 classes in % not measured."]
    assert ACCURACY([]) == []


def test_a_share_may_be_of_bytes_at_the_same_values():
    sizes = {"fixed": 2000, "range": 1800}
    rows = [row("a", rate=rate, coding=coding, bytes=n) for rate in (0.0, 0.5) for coding, n in sizes.items()]
    rows += [row("b", rate=0.5, coding="fixed", bytes=9)]
    saved = Share("range coding", {"rate": 0.0, "coding": "range"}, {"coding": "fixed"}, ("bytes",))
    assert saved(rows) == ["range coding: bytes 1800 of 2000: 90.0%."]


def test_invention_begins_where_half_is_gone_for_good():
    rows = [
        row(str(i), rate=rate, start=start, agrees=int(rate < limit), **{ALIKE: 100.0 * (rate < limit)})
        for rate in (0.0, 0.1, 0.3, 0.48, 0.6, 0.7, 0.9)
        for start, limit in (("no noise", 0.65), ("drawn", 2.0))
        for i in range(3)
    ]
    assert HALF(rows) == [
        "A picture in 100 % of the cases without loss, in half as many up to 60% lost.",
        "Two draws in 100 % of the cases without loss, in half as many up to 90% lost.",
    ]
    assert HALF([r for r in rows if r["rate"]]) == []
