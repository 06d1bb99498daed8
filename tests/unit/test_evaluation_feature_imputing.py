"""Fills, and what the feature_imputing study makes of rows."""

import numpy as np
import pytest

from gocom.evaluation.feature_imputing import imputing, invention, peers, steps
from gocom.evaluation.feature_imputing.fills import FILLS, bilinear, mean, zeros
from gocom.evaluation.feature_imputing.study import STUDY
from gocom.evaluation.papers import feature_imputing_tables as tables
from gocom.evaluation.papers.feature_imputing import PAPER
from gocom.evaluation.papers.items import Status
from gocom.evaluation.study.store import write_result
from gocom.evaluation.study.tables import groups
from gocom.transmitter.encoders.feature_imputing import region

ABOUT = {"sources": {}, "limit": None, "machine": "x86_64", "device": "cpu", "torch_threads": 1}


def plane(rows=12, columns=16, channels=3):
    """Features that grow evenly along both sides."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([(n + 1) * x + 2 * y - n for n in range(channels)], axis=-1).astype(np.float32)


def scattered(shape, rate, seed=0, shared=True):
    rng = np.random.default_rng(seed)
    return ~np.repeat(rng.random(shape[:2])[..., None] < rate, shape[2], 2) if shared else rng.random(shape) >= rate


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("shared", [True, False])
def test_what_arrived_is_kept_and_what_did_not_is_not_looked_at(name, shared):
    features = plane()
    received = scattered(features.shape, 0.4, shared=shared)
    filled = FILLS[name](np.where(received, features, np.float32(np.nan)), received)
    assert filled.dtype == np.float32 and np.isfinite(filled).all()
    assert (filled[received] == features[received]).all()
    again = FILLS[name](np.where(received, features, np.float32(1e9)), received)
    assert (again == filled).all()


def test_a_slope_is_found_again():
    features = plane()
    received = scattered(features.shape, 0.3)
    received[[0, 0, -1, -1], [0, -1, 0, -1]] = True  # nothing lies beyond what arrived
    known = np.where(received, features, 0)
    assert np.abs(bilinear(known, received) - features).max() < 1e-3
    assert np.abs(FILLS["biharmonic"](known, received) - features).mean() < 0.1 < features.std() / 50


def test_means_are_of_what_arrived_of_each_channel():
    features = plane(channels=2)
    received = np.zeros(features.shape, bool)
    received[0, :3, 0] = True
    filled = mean(features, received)
    assert filled[5, 5, 0] == pytest.approx(features[0, :3, 0].mean()) and filled[5, 5, 1] == 0
    assert (zeros(features, received)[~received] == 0).all()


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("count", [0, 1, 3, 16])
def test_little_or_all_in_a_line_is_enough(name, count):
    features = plane()
    received = np.zeros(features.shape, bool)
    received[0, :count] = True
    filled = FILLS[name](features, received)
    assert np.isfinite(filled).all() and (filled[received] == features[received]).all()
    everything = np.ones(features.shape, bool)
    assert (FILLS[name](features, everything) == features).all()


def test_the_region_is_about_what_is_worth_most():
    worth = np.full((20, 30), 0.1, np.float32)
    worth[5:10, 12:24] = 1
    found = region(worth, 60 / 600)
    assert found == {"roi_top": 5, "roi_left": 12, "roi_rows": 5, "roi_columns": 12}
    assert region(worth, 0.0)["roi_rows"] == 0
    for share in (0.001, 0.05, 0.3, 0.9):
        found = region(np.random.default_rng(0).random((13, 9), np.float32), share)
        assert 1 <= found["roi_rows"] * found["roi_columns"] <= max(1, share * 117)
        assert found["roi_top"] + found["roi_rows"] <= 13 and found["roi_left"] + found["roi_columns"] <= 9
    assert region(np.ones((1, 40), np.float32), 0.5) == {
        "roi_top": 0, "roi_left": 0, "roi_rows": 1, "roi_columns": 20
    }  # fmt: skip


def row(picture, seed=0, **keys):
    return {"set": "labelled", "picture": picture, "seed": seed, "bytes": 1000, "missing": 0.3} | keys


def way_rows():
    """The imputer is better than every fill in distance; in accuracy it is not told apart from bilinear."""
    better = {"imputer": (0.3, 1), "bilinear": (0.4, 1), "zeros": (0.6, 0), "mean": (0.6, 0), "biharmonic": (0.5, 0)}
    return [
        row(picture, order=order, rate=rate, way=way, distance=distance + 0.01 * place, correct=correct, agrees=1,
            psnr_db=20.0)
        for place, picture in enumerate("abc")
        for order in imputing.ORDERS
        for rate in imputing.RATES
        for way, (distance, correct) in better.items()
    ]  # fmt: skip


def test_the_imputer_is_said_to_beat_what_it_beats():
    text = imputing.report(way_rows())
    assert "| labelled | spatial | 0.3 | yes | not bilinear |" in text
    assert "spatial 0.310" in text and text.count("channel 0.310") == len(imputing.RATES)
    assert "Deep-feature distance: better at 10%, 30%, 50%" in tables.answer_imputing({"imputing": way_rows()})


def test_the_knee_is_where_more_steps_cease_to_help():
    distances = {n: 0.3 if n >= 8 else 0.3 + 0.05 * (8 - n) for n in steps.STEPS} | {2: 0.3}
    rows = [row(p, steps=n, distance=d + i / 100) for n, d in distances.items() for i, p in enumerate("abcd")]
    assert steps.knee(rows) == 8
    assert steps.knee([r for r in rows if r["steps"] == 1]) is None


def test_shares_of_the_clean_accuracy():
    rows = [row(p, rate=rate, correct=int(p in good)) for rate, good in ((0.0, "abcd"), (0.48, "ab")) for p in "abcde"]
    assert peers.share_of_clean(rows, 0.48, "correct") == "0.400 of 0.800: 50%"
    assert peers.share_of_clean([], 0.48, "correct") == "–"


def test_invention_begins_where_half_is_gone_for_good():
    rows = [
        row(str(i), rate=rate, start=start, agrees=int(rate < limit), alike=float(rate < limit))
        for rate in invention.RATES
        for start, limit in ((invention.MEAN, 0.65), (invention.DRAWN, 2.0))
        for i in range(3)
    ]
    first, second, third = invention.findings(rows)
    assert "in 100% of the cases without loss; in more than half as many up to 60% of" in first
    assert "up to 90%" in second and "up to 90%" in third
    assert invention.findings([r for r in rows if r["rate"]]) == []


def test_seeds_that_one_way_lacks_are_left_out():
    rows = [row("a", seed=seed, way=imputing.IMPUTER) for seed in range(5)] + [row("a", seed=1, way=imputing.DRAWN)]
    assert [r["seed"] for r in imputing.ours_beside(rows, rows[-1:])] == [1]


def test_groups_keep_their_order():
    rows = [row("a", arm="y"), row("a", arm="x"), row("b", arm="y"), row("b")]
    assert [(keys, len(found)) for keys, found in groups(rows, "arm")] == [(("y",), 2), (("x",), 1), ((None,), 1)]


def test_the_page_says_what_was_not_measured(tmp_path):
    write_result(tmp_path, imputing.PART, way_rows(), 1, ABOUT | {"nets": STUDY.nets(), "sampler": {}})
    page = PAPER.write(tmp_path, tmp_path)
    readme = (page.parent / "README.md").read_text()
    parts = {part for item in PAPER.items for part in item.parts}
    assert parts == {part.name for part in STUDY.parts}
    assert readme.count(" missing | ") == len(PAPER.items) - 1 and "Out of date: the study's part imputing" in readme
    assert "72 % semantic accuracy" in readme and "Imputer against bilinear" in readme
    assert (page.parent / "imputing.png").stat().st_size > 5000
    assert all(item.said and item.differs and item.status in (Status.HERE, Status.IN_PART) for item in PAPER.items)
