"""The report's answers: what counts where many are compared, what equal quality costs, where it wins and loses."""

import numpy as np
import pytest
from sweep_rows import SPREAD, over_losses, steady, timing

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.equal_quality import bytes_at, equal_quality
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import in_short
from gocom.evaluation.measure.metrics import METRIC

PSNR = METRIC["psnr_db"]
AT = Cell("images", "lami_go", 0.1, "clean")


def test_of_many_equals_one_may_be_better_by_chance():
    """Twelve peers whose differences have p of about 0.03 by luck: each alone would count, of twelve none does."""
    off = np.array([1, -1, 1, -1, 1, -1, 1, -1]) * 0.9
    peers = ["jpeg+fec", *(f"jpeg:quality={q}+fec" for q in range(11))]
    rows = steady("lami_go", 20.0)
    for number, name in enumerate(peers):
        spread = np.add(SPREAD, off) + 1e-6 * number  # no two are the same
        rows += steady(name, 20.9, spread=spread, codec="jpeg")
    assert Results(rows).standing(AT, PSNR) == "level"
    alone = Results([made for made in rows if made["method"] in ("lami_go", peers[0])])
    assert alone.standing(AT, PSNR) == "lost" and alone.better(AT, AT._replace(method=peers[0]), PSNR) == -1


def test_other_rates_and_channels_are_of_the_family():
    """What would count alone does not where eleven more places are looked at."""
    off = np.array([1, -1, 1, -1, 1, -1, 1, -1]) * 0.9
    rows = []
    for number in range(12):
        channel = f"packet_erasure:rate={number / 20:g}"
        rows += steady("lami_go", 20.0, channel=channel)
        rows += steady("jpeg", 20.9, spread=np.add(SPREAD, off if number == 0 else off * 9), channel=channel)
    place = AT._replace(channel="packet_erasure:rate=0")
    assert Results(rows[:16]).standing(place, PSNR) == "lost"
    assert Results(rows).standing(place, PSNR) == "level"


def test_to_give_up_early_is_not_to_be_quick():
    rows = steady("jpeg", 20.0)
    rows[0]["failed"] = 1
    results = Results(rows, [timing(r, total_s=0.1 if r["failed"] else 0.3) for r in rows])
    assert results.average(AT._replace(method="jpeg"), "total_s")[0] == pytest.approx(0.3)


def test_what_equal_quality_costs():
    """jpeg+fec: 500 bytes 20 dB, 1000 bytes 24 dB; lami_go: 800 bytes 21 dB, 1000 bytes 25 dB, 400 bytes 10 dB."""
    rows = []
    for rate, size, psnr_db in ((0.1, 800, 21.0), (None, 1000, 25.0), (0.05, 400, 10.0)):
        rows += steady("lami_go", psnr_db, rate_bpp=rate, bytes_total=size)
    for rate, size, psnr_db in ((0.1, 500, 20.0), (None, 1000, 24.0)):
        rows += steady("jpeg+fec", psnr_db, rate_bpp=rate, bytes_total=size)
    rows += steady("jpeg", 30.0)
    table = equal_quality(Results(rows), "images", PSNR, ["clean"])
    assert table.head == ("lost", "rate", "lami_go", "jpeg+fec")  # without protection it would say little
    assert [line[2:] for line in table.lines] == [
        ("400 bytes", "<1.25"), ("800 bytes", "0.78"), ("1000 bytes", ">1.00")
    ]  # fmt: skip
    assert bytes_at(3.0, np.array([1.0, 5.0, 4.0]), np.array([100.0, 200.0, 300.0])) == 150.0


def test_in_short():
    lines = in_short(Results(over_losses())).lines
    assert lines[0] == ("lami_go", "images", "PSNR in dB", "1 / 1 / 3", "2 / 1 / 2")
    assert lines[1] == ("lami_go", "images", "MS-SSIM", "0 / 5 / 0", "0 / 5 / 0")
