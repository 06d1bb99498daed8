"""The report's statistics against rows whose means are known."""

import math

import numpy as np
import pytest
from sweep_rows import ERASURES, SPREAD, over_losses, row, steady

from gocom.evaluation.compare import tables
from gocom.evaluation.compare.axes import Kind, axis_of
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.measure.metrics import METRIC
from gocom.evaluation.measure.statistics import MIN_PICTURES, interval, paired
from gocom.evaluation.report.tables import Mark

PSNR, DISTANCE = METRIC["psnr_db"], METRIC["distance"]
AT = Cell("images", "lami_go", 0.1, "clean")


def test_seeds_are_averaged_before_pictures():
    values = {"a": [1.0, 3.0], "b": [10.0]}  # the mean over rows would be 14 / 3
    rows = [row(picture=p, seed=i, psnr_db=v) for p, found in values.items() for i, v in enumerate(found)]
    results = Results(rows)
    assert results.pictures(AT, "psnr_db") == {"a": 2.0, "b": 10.0}
    assert results.average(AT, "psnr_db") == interval([2.0, 10.0])
    assert results.average(AT, "psnr_db")[0] == 6.0


def test_differences_are_of_pictures_that_both_have():
    rows = [row(picture=p, psnr_db=v) for p, v in {"a": 1.0, "b": 5.0, "c": 100.0}.items()]
    rows += [row("jpeg", p, psnr_db=v) for p, v in {"d": 0.0, "b": 2.0, "a": 3.0}.items()]
    assert Results(rows).difference(AT, AT._replace(method="jpeg"), "psnr_db") == paired([1.0, 5.0], [3.0, 2.0])


def test_an_equal_picture_counts_as_100_db():
    results = Results([row(picture="a", psnr_db=math.inf), row(picture="b", psnr_db=30.0)])
    assert results.average(AT, "psnr_db")[0] == 65.0


def test_what_is_missing_is_no_number():
    results = Results([row(picture="a", ms_ssim=None), row(picture="b", ms_ssim=None)])
    assert [metric.field for metric in results.metrics("images")] == ["psnr_db", "distance", "agrees"]
    assert results.average(AT, "ms_ssim") is None and results.average(AT, "correct") is None


def test_a_segment_that_some_frames_lack_has_no_bytes_there():
    rows = [
        row(picture="a", bytes_by_segment='{"tokens": 800, "text": 100}'),
        row(picture="b", bytes_by_segment='{"tokens": 900}'),
    ]
    results = Results(rows)
    assert results.segments(AT) == ["tokens", "text"]
    assert results.average(AT, "segment:text")[0] == 50.0


@pytest.mark.parametrize(
    ("metric", "lami_go", "jpeg", "best"),
    [(PSNR, 22.0, 20.0, "lami_go"), (PSNR, 20.0, 22.0, "jpeg"), (DISTANCE, 22.0, 20.0, "jpeg")],
)
def test_a_clear_winner(metric, lami_go, jpeg, best):
    rows = [r | {"distance": r["psnr_db"] / 20} for r in steady("lami_go", lami_go) + steady("jpeg", jpeg)]
    results = Results(rows)
    assert results.leaders(AT, metric) == [best]
    gap = 2.0 if metric is PSNR else 0.1
    peer, difference = results.rival(AT, metric)
    assert peer.method == "jpeg" and difference == pytest.approx([gap if lami_go > jpeg else -gap] * 3)
    assert results.standing(AT, metric) == ("won" if best == "lami_go" else "lost")


def test_a_tie_is_level():
    """jpeg is better by 0.1 in the mean, but as often worse; webp is far behind, and not among the level ones."""
    uneven = [off + (1.0 if i % 2 else -1.0) for i, off in enumerate(SPREAD)]
    rows = steady("lami_go", 20.0) + steady("jpeg", 20.1, spread=uneven) + steady("webp", 15.0)
    results = Results(rows)
    assert results.leaders(AT, PSNR) == ["jpeg", "lami_go"]
    mean, low, high = results.difference(AT._replace(method="jpeg"), AT, "psnr_db")
    assert mean == pytest.approx(0.1) and low < 0 < high
    table = tables.winners(results, "images", PSNR, 0.1, ["clean"])
    assert table.lines[0][-2] == Mark("level: jpeg, lami_go", "even")
    assert results.standing(AT, PSNR) == "level"
    assert Results([made for made in rows if made["method"] != "jpeg"]).standing(AT, PSNR) == "won"


def test_few_pictures_decide_nothing():
    rows = steady("lami_go", 25.0) + steady("jpeg", 20.0)
    few = [r for r in rows if int(r["picture"][1:]) < MIN_PICTURES - 1]
    assert Results(few).leaders(AT, PSNR) == ["lami_go", "jpeg"]
    enough = [r for r in rows if int(r["picture"][1:]) < MIN_PICTURES]
    assert Results(enough).leaders(AT, PSNR) == ["lami_go"]


def test_one_method_has_no_rival():
    results = Results(steady("lami_go", 20.0))
    assert results.leaders(AT, PSNR) == [] and results.rival(AT, PSNR) is None
    assert results.standing(AT, PSNR) is None and tables.in_short(results) is None
    (line,) = tables.winners(results, "images", PSNR, 0.1, ["clean"]).lines
    assert line == ("0 %", tables.words(results.average(AT, "psnr_db")), "–", "–")


def test_who_is_best_at_each_loss():
    results = Results(over_losses())
    table = tables.winners(results, "images", PSNR, 0.1, list(ERASURES))
    assert table.head == (
        "channel",
        "lami_go",
        "jpeg+fec",
        "jpeg+arq",
        "best, or not told apart from it",
        "lami_go minus the best file",
    )
    assert [line[0] for line in table.lines] == ["0 %", "5 %", "10 %", "20 %", "50 %"]
    assert [line[-2] for line in table.lines] == [
        Mark("jpeg+fec", "classical"), Mark("level: lami_go, jpeg+fec", "even"), Mark("jpeg+fec", "classical"),
        Mark("lami_go", "semantic"), Mark("jpeg+arq", "classical"),
    ]  # fmt: skip
    assert [line[-1] for line in table.lines][3:] == [
        Mark("+0.50 (+0.50 to +0.50) jpeg+arq", "semantic"), Mark("-0.50 (-0.50 to -0.50) jpeg+arq", "classical")
    ]  # fmt: skip
    places = [AT._replace(channel=channel) for channel in ERASURES]
    once = [results.leaders(place, PSNR, once=True) for place in places]  # without a way back
    assert once == [["jpeg+fec"], ["lami_go", "jpeg+fec"], ["jpeg+fec"], ["lami_go"], ["lami_go"]]


def test_bytes_are_named_where_they_are_not_equal():
    rows = steady("lami_go", 20.0) + steady("webp", 21.0, bytes_total=1300, at_floor=1)
    table = tables.bytes_taken(Results(rows), "images", 0.1)
    assert table.lines == (("0 %", "1000 (1000 to 1000)", "1300 (1300 to 1300), at its floor in 100 %"),)


@pytest.mark.parametrize(
    ("spec", "kind", "x", "family"),
    [
        ("clean", Kind.ERASURE, 0.0, "packet_erasure"),
        ("lossy", Kind.ERASURE, 0.2, "packet_erasure"),
        ("packet_erasure:rate=0.5", Kind.ERASURE, 0.5, "packet_erasure"),
        ("packet_erasure:rate=0.5,segment=1", Kind.OTHER, None, "packet_erasure:rate=0.5,segment=1"),
        ("bit_flip:rate=1e-3,damage=deliver", Kind.BIT_FLIPS, 1e-3, "bit_flip:damage=deliver"),
        ("bit_flip:rate=1e-4", Kind.BIT_FLIPS, 1e-4, "bit_flip"),
        ("block_fading:snr_db=0", Kind.FADING, 0.0, "block_fading"),
        ("block_fading:fading=rayleigh", Kind.OTHER, None, "block_fading:fading=rayleigh"),
        ("gilbert_elliott:p=0.02,r=0.2", Kind.BURSTS, 0.09, "gilbert_elliott"),
        ("light+noisy", Kind.OTHER, None, "light+noisy"),
        ("gone.yaml", Kind.OTHER, None, "gone.yaml"),
    ],
)
def test_channels_have_axes(spec, kind, x, family):
    axis = axis_of(spec, 0.09)
    assert (axis.kind, axis.x, axis.family) == (kind, x, family)


def test_who_takes_more_bytes_does_not_compete():
    """jpeg is best by far, with 6 % more bytes; webp is worse than lami_go, with 4 % more."""
    spent = {"lami_go": (20.0, 1000), "jpeg": (25.0, 1060), "webp": (19.0, 1040)}
    rows = [made for name, (db, size) in spent.items() for made in steady(name, db, bytes_total=size)]
    results = Results(rows)
    assert [results.overspent(AT._replace(method=name)) for name in spent] == [False, True, False]
    assert results.leaders(AT, PSNR) == ["lami_go"] and results.rival(AT, PSNR)[0].method == "webp"
    assert results.standing(AT, PSNR) == "won"
    table = tables.winners(results, "images", PSNR, 0.1, ["clean"])
    assert table.lines[0][2].startswith("[25.00 (")
    second = Results(rows + steady("lami_go:mask_ratio=0", 30.0, bytes_total=1500))
    assert second.overspent(AT._replace(method="lami_go:mask_ratio=0"))  # the first one sets the bytes for all
    assert second.leaders(AT, PSNR) == ["lami_go"]
    alone = Results([made for made in rows if made["method"] != "lami_go"])
    assert alone.leaders(AT, PSNR) == ["jpeg"]  # nobody sets the bytes


def test_bad_luck_is_not_overspending():
    """Retransmissions that took 10 % more in the mean, far more for some pictures and less for others."""
    sizes = [1000 + 100 + (-1) ** i * 400 for i in range(8)]
    rows = steady("lami_go", 20.0) + [row("jpeg+arq", f"p{i}", bytes_total=size) for i, size in enumerate(sizes)]
    assert not Results(rows).overspent(AT._replace(method="jpeg+arq"))


def test_the_smallest_file_that_is_too_large_does_not_compete():
    """As above, but because there is nothing smaller."""
    sizes = [1000 + 100 + (-1) ** i * 400 for i in range(8)]
    rows = [row("jpeg+arq", f"p{i}", bytes_total=size, at_floor=1) for i, size in enumerate(sizes)]
    assert Results(rows + steady("lami_go", 20.0)).overspent(AT._replace(method="jpeg+arq"))


def test_the_winner_has_won_against_all():
    """b is clearly worse than a; c, worse still, differs too much from picture to picture to say so."""
    rows = steady("lami_go", 22.0) + steady("jpeg", 21.5)
    rows += [row("webp", f"p{i}", psnr_db=21.4 + SPREAD[i] + (-1) ** i * 4) for i in range(8)]
    assert Results(rows).leaders(AT, PSNR) == ["lami_go", "webp"]


def test_twins_are_one():
    """Where nothing is lost, protection changes nothing."""
    rows = [made for name in ("webp", "webp+fec", "webp+arq") for made in steady(name, 25.0)] + steady("lami_go", 20.0)
    assert Results(rows).leaders(AT, PSNR) == ["webp"]


def test_nobody_wins_where_nobody_set_the_bytes():
    rows = steady("jpeg", 20.0, rate_bpp=None) + steady("avif", 30.0, rate_bpp=None, bytes_total=9000)
    assert Results(rows).leaders(AT._replace(rate_bpp=None), PSNR) == []


@pytest.mark.parametrize("pictures", [MIN_PICTURES, 12, 24])
def test_equals_are_told_apart_once_in_twenty(pictures):
    """Normal differences without an effect: 5 % of 400 are 20 (sd 4.4)."""
    rng, told = np.random.default_rng(1), 0
    for _ in range(400):
        pairs = rng.normal(20, 1, (2, pictures))
        rows = [row(m, f"p{i}", psnr_db=v) for m, of in zip(("lami_go", "jpeg"), pairs, strict=True)
                for i, v in enumerate(of)]  # fmt: skip
        told += Results(rows).better(AT, AT._replace(method="jpeg"), PSNR) != 0
    assert 4 <= told <= 36
