"""PSNR and MS-SSIM of RGB pictures, float32 [3, H, W] in [0, 1], in numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput
from gocom.common.image_files import ImageArray

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli, Bovik 2003)."""
WINDOW_TAPS, WINDOW_SIGMA_PX = 11, 1.5
MIN_SIDE_PX = WINDOW_TAPS * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Shortest side that MS-SSIM is defined for, 176 px: below it the window does not fit the coarsest scale."""

_Array = npt.NDArray[np.float32]


def psnr_db(a: ImageArray, b: ImageArray) -> float:
    """Return the peak signal-to-noise ratio in dB over all samples of float32 [3, H, W] in [0, 1].

    It is inf for equal pictures.

    Raises:
        InvalidInput: the shapes differ.
    """
    _check_shapes(a, b)
    # By channel, since copies of the whole in float64 would take six times the memory of the picture.
    error = float(np.mean([np.mean((x.astype(np.float64) - y) ** 2) for x, y in zip(a, b, strict=True)]))
    return math.inf if error == 0 else -10 * math.log10(error)


def ms_ssim(a: ImageArray, b: ImageArray) -> float | None:
    """Return the multi-scale SSIM, in [0, 1], of float32 [3, H, W] in [0, 1]; None if a side is below 176 px.

    It is computed for R, G and B separately and averaged. The Gaussian window has 11 taps (sigma 1.5 px, no padding).
    There are five scales, each the 2x2 means of the one before. A negative contrast-structure term is taken as 0.
    Rounding to float32 changes the result by less than 1e-6.

    Raises:
        InvalidInput: the shapes differ.
    """
    _check_shapes(a, b)
    if min(a.shape[1:]) < MIN_SIDE_PX:
        return None
    similarities = [_ms_ssim_of_channel(x, y) for x, y in zip(a, b, strict=True)]
    return float(np.mean(similarities))


def _ms_ssim_of_channel(a: _Array, b: _Array) -> float:
    """Return the multi-scale SSIM of one channel, float32 [H, W] in [0, 1]."""
    product = 1.0
    x, y = a, b
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, contrast = _ssim_terms(x, y)
        last = scale == len(SCALE_WEIGHTS) - 1
        product *= max(luminance if last else contrast, 0.0) ** weight
        if not last:
            x, y = _halve(x), _halve(y)
    return product


def _check_shapes(a: ImageArray, b: ImageArray) -> None:
    if a.shape != b.shape:
        raise InvalidInput(f"image: shapes {a.shape} and {b.shape} cannot be compared")


def _ssim_terms(x: _Array, y: _Array) -> tuple[float, float]:
    """Return the mean SSIM and the mean contrast-structure term of float32 [H, W].

    The picture is taken in strips, whose intermediate results fit the processor's cache.
    """
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    # Second moments about a value in the middle: of large ones, float32 would leave too little of their differences.
    middle = np.float32((x.mean(dtype=np.float64) + y.mean(dtype=np.float64)) / 2)
    rows, columns = x.shape[0] - _MARGIN, x.shape[1] - _MARGIN
    ssim = contrasts = 0.0
    for start in range(0, rows, _BLOCK):
        strip = slice(start, min(start + _BLOCK, rows) + _MARGIN)
        off_x, off_y = x[strip] - middle, y[strip] - middle
        # The two variances occur as their sum alone, so that one mean of squares is enough for both.
        moments = np.stack([off_x, off_y, off_x * off_x + off_y * off_y, off_x * off_y])
        mean_x, mean_y, squares, products = _window_means(moments)
        covariance = products - mean_x * mean_y
        variances = squares - mean_x * mean_x - mean_y * mean_y
        contrast = (2 * covariance + c2) / (variances + c2)
        mean_x += middle
        mean_y += middle
        luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
        ssim += float((luminance * contrast).sum(dtype=np.float64))
        contrasts += float(contrast.sum(dtype=np.float64))
    return ssim / (rows * columns), contrasts / (rows * columns)


def _window_means(strips: _Array) -> _Array:
    """Apply the separable Gaussian window where it fits: float32 [N, up to _BLOCK + 10, W] -> [N, H - 10, W - 10].

    Both passes are products with a band matrix. Its zeros are multiplied in vain, and yet that takes a third of the
    time of eleven passes over the samples.
    """
    high, wide = strips.shape[1] - _MARGIN, strips.shape[2] - _MARGIN
    down = _BAND[: high + _MARGIN, :high].T @ strips
    means = np.empty((len(strips), high, wide), np.float32)
    for start in range(0, wide, _BLOCK):
        size = min(_BLOCK, wide - start)
        band = _BAND[: size + _MARGIN, :size]
        np.matmul(down[:, :, start : start + size + _MARGIN], band, out=means[:, :, start : start + size])
    return means


def _band_matrix() -> _Array:
    """Return the matrix, float32 [_BLOCK + 10, _BLOCK], whose column i has the taps of the window from row i on."""
    offsets = np.arange(WINDOW_TAPS) - WINDOW_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA_PX**2))
    band = np.zeros((_BLOCK + _MARGIN, _BLOCK), np.float32)
    for column in range(_BLOCK):
        band[column : column + WINDOW_TAPS, column] = taps / taps.sum()
    return band


_MARGIN = WINDOW_TAPS - 1
_BLOCK = 32
"""Window means that a product with the band matrix makes in a row or column."""
_BAND = _band_matrix()


def _halve(x: _Array) -> _Array:
    """Return the means of 2x2 blocks of float32 [H, W]; an odd last row or column is left out."""
    rows, columns = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    pairs = x[0:rows:2] + x[1:rows:2]
    return np.asarray((pairs[:, 0:columns:2] + pairs[:, 1:columns:2]) * np.float32(0.25))
