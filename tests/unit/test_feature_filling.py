"""Fills of erased features, and the region that a map of importance picks."""

import numpy as np
import pytest

from gocom.evaluation.probes.feature_filling import FILLS, bilinear, mean, zeros
from gocom.transmitter.encoders.feature_imputing import region


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
