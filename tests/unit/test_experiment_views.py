"""Rows to means, differences with verdicts, sentences and curves; numbers are worked out by hand."""

import math

import pytest
from PIL import Image
from scipy import stats

from gocom.evaluation.experiment import views
from gocom.evaluation.experiment.experiment import Against, Curves, Experiment, Means, Pair, ours
from gocom.evaluation.experiment.pictures import sizes, spread
from gocom.evaluation.experiment.rows import average, by_picture, difference, groups, metric_of, where
from gocom.evaluation.experiment.views import against_table, compared, draw, means_table, sentences
from gocom.evaluation.report.tables import NOTHING, Mark


def row(picture, psnr_db, seed=None, of="images", **keys):
    return {"set": of, "picture": picture, "seed": seed, "psnr_db": psnr_db} | keys


def rows_of(values, **keys):
    """A row for each picture."""
    return [row(f"p{i}", value, **keys) for i, value in enumerate(values)]


# rows


def test_rows_are_chosen_by_a_value_or_any_of_several():
    rows = [row("a", 1, at=at) for at in (1, 2, "x")]
    assert [r["at"] for r in where(rows, {"at": 2})] == [2]
    assert [r["at"] for r in where(rows, {"at": ("x", 1)})] == [1, "x"]
    assert where(rows, {"other": None}) == rows and where(rows, {"other": 1}) == []


def test_groups_are_in_order_and_leave_out_rows_without_the_key():
    rows = [row("a", 1, at=2), row("b", 1, at=1), row("c", 1), row("d", 1, at=2)]
    assert [(values, [r["picture"] for r in found]) for values, found in groups(rows, ["at"])] == [
        ((2,), ["a", "d"]), ((1,), ["b"]),
    ]  # fmt: skip


def test_seeds_of_a_picture_are_averaged_before():
    rows = [row("a", 10, 0), row("a", 20, 1), row("b", 30, 0), row("b", 30, 1), row("b", 36, 2), {**row("c", 1)}]
    rows[-1].pop("psnr_db")
    assert by_picture(rows, "psnr_db") == {("images", "a"): 15, ("images", "b"): 32}
    mean, low, high = average(rows, "psnr_db")
    half = stats.t.ppf(0.975, 1) * math.sqrt(((15 - 23.5) ** 2 + (32 - 23.5) ** 2) / 1 / 2)
    assert (mean, low, high) == pytest.approx((23.5, 23.5 - half, 23.5 + half))
    assert average(rows, "distance") is None


def test_pictures_of_one_name_in_two_sets_are_two():
    assert by_picture([row("a", 1), row("a", 3, of="street")], "psnr_db") == {("images", "a"): 1, ("street", "a"): 3}


def test_shares_are_in_per_cent_and_psnr_has_an_end():
    assert by_picture([row("a", math.inf, correct=1), row("a", 20, correct=0)], "correct") == {("images", "a"): 50}
    assert by_picture([row("a", math.inf), row("a", 20)], "psnr_db") == {("images", "a"): 60}


def test_only_losses_that_both_met_are_compared():
    one = [row("a", 10, 0), row("a", 99, 1), row("b", 12, 0), row("only here", 0, 0)]
    other = [row("a", 9, 0), row("a", 50, 7), row("b", 9, 0)]
    found, p = difference(one, other, "psnr_db")
    assert found[0] == pytest.approx((1 + 3) / 2)
    assert p == pytest.approx(stats.ttest_rel([10, 12], [9, 9]).pvalue)
    assert difference([row("a", 1, 0)], [row("a", 1, 1)], "psnr_db") is None
    assert difference([row("a", 1)], [row("b", 1)], "psnr_db") is None


def test_a_clean_channel_is_compared_with_the_mean_over_seeds():
    found, _ = difference([row("a", 10, 0), row("a", 20, 1)], [row("a", 30)], "psnr_db")
    assert found[0] == -15


def test_what_fields_are_called():
    assert metric_of("psnr_db").title == "PSNR in dB" and not metric_of("bytes").higher
    assert metric_of("bits_a_token").title == "bits a token"


def test_pictures_are_spread_and_counted():
    assert spread(10, 3) == [0, 3, 6] and spread(2, 5) == [0, 1]
    rows = [row("a", 1, 0), row("b", 1, 1), row("c", 1, of="street")]
    assert sizes(rows) == "2 pictures of images and 1 picture of street, 2 seeds"
    assert sizes([row("a", 1)]) == "1 picture of images"


# means


def test_a_table_of_means():
    rows = [*rows_of((20, 22), way="b", bytes=300), *rows_of((30, 30), way="a", bytes=500), row("p0", 5)]
    table = means_table(Means(("way",), ("psnr_db", "bytes", "distance"), title="T"), rows)
    assert table.title == "T" and table.head == ("way", "PSNR in dB", "bytes", "deep-feature distance")
    low, high = 21 - 12.706 * 1, 21 + 12.706 * 1
    assert table.lines[0] == ("b", f"21.00 ({low:.2f} to {high:.2f})", "300 (300 to 300)", NOTHING)
    assert [line[0] for line in table.lines] == ["b", "a"]
    (one,) = means_table(Means(("way",), ("psnr_db",), where={"way": "a", "picture": "p0"}), rows).lines
    assert one == ("a", "30.00 (one picture)")


# differences

SURE, UNSURE, LITTLE = (1.0, 1.1, 0.9, 1.05), (1.0, 1.7, 0.3, 1.3), (0.5, -0.6, 0.2, -0.1)


def lossy(differences, at, better="psnr_db"):
    """Rows of two ways at a place, which differ by so much."""
    base = [20, 25, 30, 35]
    new = [b + d for b, d in zip(base, differences, strict=True)]
    one = [{**row(f"p{i}", 0, way="new", at=at), better: value} for i, value in enumerate(new)]
    return one + [{**row(f"p{i}", 0, way="old", at=at), better: b} for i, b in enumerate(base)]


def test_verdicts_are_corrected_over_all_lines_of_a_metric():
    p = [stats.ttest_1samp(d, 0).pvalue for d in (SURE, UNSURE, LITTLE)]
    assert p[0] < 0.05 / 3 and 0.05 / 2 < p[1] < 0.05 < p[2]  # alone the second would stand, among three it does not
    view = Against((Pair("new against old", {"way": "new"}, {"way": "old"}),), ("at",), ("psnr_db",))
    alone = compared(view, lossy(UNSURE, "y"))
    assert [line.found["psnr_db"][1] for line in alone] == ["better"]
    rows = lossy(SURE, "x") + lossy(UNSURE, "y") + lossy(LITTLE, "z")
    found = compared(view, rows)
    assert [(line.at, line.found["psnr_db"][1]) for line in found] == [
        (("x",), "better"), (("y",), "not told apart"), (("z",), "not told apart"),
    ]  # fmt: skip
    assert found[0].found["psnr_db"][0] == pytest.approx(tuple([1.0125, *ends(SURE)]))
    two_pairs = Against((*view.pairs, Pair("old against new", {"way": "old"}, {"way": "new"})), ("at",), ("psnr_db",))
    assert [line.found["psnr_db"][1] for line in compared(two_pairs, lossy(UNSURE, "y"))] == ["not told apart"] * 2


def ends(values):
    return stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), stats.sem(values))


def test_of_a_field_that_nobody_knows_more_is_neither_better_nor_worse():
    falls = tuple(-d for d in SURE)
    view = Against(ours("way", "new", ("old",)), ("at",), ("latency",))
    rows = lossy(SURE, "x", "latency") + lossy(falls, "y", "latency") + lossy(LITTLE, "z", "latency")
    assert [line.found["latency"][1] for line in compared(view, rows)] == ["higher", "lower", "not told apart"]
    assert not any(isinstance(cell, Mark) for line in against_table(view, rows).lines for cell in line)
    assert "+1.012 (+0.877 to +1.148), higher" in against_table(view, rows).lines[0]


def test_less_is_better_of_bytes():
    view = Against(ours("way", "new", ("old",)), (), ("bytes",))
    (line,) = compared(view, lossy(SURE, "x", "bytes"))
    assert line.found["bytes"][1] == "worse"
    table = against_table(view, lossy(SURE, "x", "bytes"))
    assert table.notes == ("One minus the other. Less is better of: bytes.",)
    assert table.lines == (("new against old", Mark("+1 (+1 to +1), worse", "bad")),)
    assert sentences(view, lossy(SURE, "x", "bytes")) == ["new against old. bytes: +1 (+1 to +1), worse."]


def test_the_others_values_stand_over_the_place():
    """All channels against the clean one."""
    rows = [*rows_of((10, 11, 12), rate=0.5), *rows_of((14, 15.1, 16), rate=0.1), *rows_of((20, 21, 22.2), rate=0)]
    view = Against((Pair("lossy against clean", {}, {"rate": 0}),), ("rate",), ("psnr_db",), where={"seed": None})
    found = {line.at: line.found["psnr_db"] for line in compared(view, rows)}
    assert found[0.5,][0][0] == pytest.approx(-10.067, abs=1e-3) and found[0.5,][1] == "worse"
    assert found[0.1,][0][0] == pytest.approx(-6.033, abs=1e-3)
    assert found[0,] == ((0, 0, 0), "not told apart")


def test_a_pair_that_was_not_measured_is_left_out_and_a_field_has_a_dash():
    view = Against(
        (Pair("a", {"way": "new"}, {"way": "old"}), Pair("b", {"way": "new"}, {"way": "gone"})), ("at",),
        ("psnr_db", "ms_ssim"),
    )  # fmt: skip
    table = against_table(view, lossy(SURE, "x"))
    assert table.lines == (("a", "x", Mark("+1.01 (+0.88 to +1.15), better", "good"), NOTHING),)
    assert sentences(view, lossy(SURE, "x")) == ["a. PSNR in dB: better at x. MS-SSIM: not measured."]
    assert compared(view, []) == [] and sentences(view, []) == []


def test_a_sentence_has_every_verdict_with_its_places():
    view = Against(ours("way", "new", ("old",)), ("set", "at"), ("psnr_db",))
    worse = tuple(-d for d in SURE)
    rows = lossy(SURE, 0.1) + lossy(worse, True) + lossy(LITTLE, "z") + lossy(SURE, 1.5)
    (sentence,) = sentences(view, rows)
    assert sentence == (
        "new against old. "
        "PSNR in dB: better at images 0.1, images 1.5; worse at images yes; not told apart at images z."
    )
    (line,) = against_table(Against(view.pairs, ("at",), ("psnr_db",), where={"at": "z"}), rows).lines
    assert line[2].startswith("+0.00") and not isinstance(line[2], Mark)


def test_one_picture_tells_nothing_apart():
    view = Against(ours("way", "new", ("old",)), (), ("psnr_db",))
    rows = [row("p0", 30, way="new"), row("p0", 20, way="old")]
    assert sentences(view, rows) == ["new against old. PSNR in dB: +10.00 (one picture), not told apart."]


# curves

CURVED = Experiment(name="curved", title="Curved", sets={"images": 1}, measure=lambda bench, picture: [])


@pytest.fixture
def drawn(monkeypatch):
    """What is plotted, beside the file that is written."""
    panels, plot = [], views.plot
    monkeypatch.setattr(views, "plot", lambda shown, *more: panels.extend(shown) or plot(shown, *more))
    return panels


def test_a_figure_is_written_with_a_panel_for_each_field_and_column(drawn, tmp_path):
    rows = [r for x in (4, 1) for way in "ab" for r in rows_of((x, x + 2), x=x, way=way, bytes=x)]
    view = Curves("size", "x", ("set",), ("psnr_db", "bytes"), columns="way", title="Sizes", log_x=True)
    figure = draw(view, CURVED, rows, tmp_path)
    assert figure.path == tmp_path / "figures" / "curved_size.png" and figure.title == "Sizes"
    with Image.open(figure.path) as picture:
        assert picture.width > 800 and picture.height > 600
    assert [[(panel.y, panel.title) for panel in line] for line in drawn] == [
        [("PSNR in dB", "way: a"), ("PSNR in dB", "way: b")], [("bytes", "way: a"), ("bytes", "way: b")],
    ]  # fmt: skip
    (line,) = drawn[0][0].lines
    assert (line.label, list(line.x), list(line.y)) == ("images", [1, 4], [2, 5]) and len(line.band) == 2


def test_fields_stand_side_by_side_without_columns_and_one_picture_has_no_bands(drawn, tmp_path):
    rows = [row("p0", x, x=x, bytes=9) for x in (1, 2)]
    draw(Curves("size", "x", (), ("psnr_db", "bytes", "distance")), CURVED, rows, tmp_path)
    ((first, second, third),) = drawn
    assert first.lines[0].label == "all" and not first.lines[0].band and second.lines and not third.lines


def test_points_may_lie_at_the_mean_of_a_field(drawn, tmp_path):
    rows = [r for at, size in ((1, 500), (2, 100)) for r in rows_of((at, at), at=at, bytes=size)]
    rows += rows_of((7, 7), at=3)  # its size was not measured: it has no place
    draw(Curves("size", "bytes", (), ("psnr_db",), points=("at",)), CURVED, rows, tmp_path)
    ((panel,),) = drawn
    assert panel.x == "bytes" and list(panel.lines[0].x) == [100, 500] and list(panel.lines[0].y) == [2, 1]


def test_the_level_may_lie_outside_of_what_is_shown(drawn, tmp_path):
    rows = [*rows_of((10, 12), x=1, way="a"), *rows_of((30, 32), x=9, way="all"), *rows_of((0, 0), of="street", x=9)]
    view = Curves(
        "size", "x", ("way",), ("psnr_db",), where={"way": "a", "set": "images"}, level=({"way": "all"}, "everything")
    )
    draw(view, CURVED, rows, tmp_path)
    ((panel,),) = drawn
    assert [line.label for line in panel.lines] == ["a"] and panel.level == (31, "everything")


def test_nothing_is_drawn_of_nothing(tmp_path):
    rows = rows_of((1, 2), x=1)
    for view in (
        Curves("size", "x", (), ("distance",)),
        Curves("size", "x", (), where={"x": 2}),
        Curves("size", "x", (), columns="way"),
    ):
        assert draw(view, CURVED, rows, tmp_path) is None
    assert not list(tmp_path.iterdir())
