"""PSNR and MS-SSIM against what is known of them."""

import math

import numpy as np
import pytest

from gocom.common.errors import InvalidInput
from gocom.common.image_quality import ms_ssim, psnr_db


def picture(side: int = 192) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side] / side
    return np.stack([rows, columns, np.sin(rows * 30) * 0.4 + 0.5]).astype(np.float32)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(image.shape) * sigma
    return np.clip(image + noise, 0, 1).astype(np.float32)


def test_identity():
    assert psnr_db(picture(), picture()) == math.inf
    assert ms_ssim(picture(), picture()) == pytest.approx(1)


def test_psnr_by_hand():
    a = np.zeros((3, 4, 4), np.float32)
    assert psnr_db(a, a + np.float32(0.1)) == pytest.approx(20, abs=1e-5)
    b = a.copy()
    b[0, 0, 0] = 1  # one of 48 samples is off by 1: MSE = 1/48
    assert psnr_db(a, b) == pytest.approx(10 * math.log10(48))


def test_both_fall_with_noise():
    levels = [noisy(picture(), sigma) for sigma in (0.01, 0.05, 0.2)]
    psnr = [psnr_db(picture(), x) for x in levels]
    similarity = [ms_ssim(picture(), x) for x in levels]
    assert psnr == sorted(psnr, reverse=True)
    assert similarity == sorted(similarity, reverse=True)
    assert 0 < similarity[-1] < similarity[0] < 1


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_of_the_coarsest_scale():
    a, b = np.full((3, 176, 176), 0.5, np.float32), np.full((3, 176, 176), 0.25, np.float32)
    luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ms_ssim(a, b) == pytest.approx(luminance**0.1333, rel=1e-6)


def test_small_pictures_have_no_ms_ssim():
    assert ms_ssim(picture(175), picture(175)) is None
    assert ms_ssim(picture(176), picture(176)) == pytest.approx(1)


@pytest.mark.parametrize("measure", [psnr_db, ms_ssim])
def test_shapes_must_agree(measure):
    with pytest.raises(InvalidInput, match="shapes"):
        measure(picture(176), picture(192))
