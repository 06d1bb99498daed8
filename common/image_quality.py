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

_Array = npt.NDArray[np.float64]


def psnr_db(a: ImageArray, b: ImageArray) -> float:
    """Return the peak signal-to-noise ratio in dB over all samples of float32 [3, H, W] in [0, 1].

    It is inf for equal pictures.

    Raises:
        InvalidInput: the shapes differ.
    """
    _check_shapes(a, b)
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def ms_ssim(a: ImageArray, b: ImageArray) -> float | None:
    """Return the multi-scale SSIM, in [0, 1], of float32 [3, H, W] in [0, 1]; None if a side is below 176 px.

    It is computed for R, G and B separately and averaged. The Gaussian window has 11 taps (sigma 1.5 px, no padding).
    There are five scales, each the 2x2 means of the one before. A negative contrast-structure term is taken as 0.

    Raises:
        InvalidInput: the shapes differ.
    """
    _check_shapes(a, b)
    if min(a.shape[1:]) < MIN_SIDE_PX:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    product = np.ones(len(x))
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, contrast = _ssim_terms(x, y)
        last = scale == len(SCALE_WEIGHTS) - 1
        product *= np.maximum(luminance if last else contrast, 0) ** weight
        if not last:
            x, y = _halve(x), _halve(y)
    return float(product.mean())


def _check_shapes(a: ImageArray, b: ImageArray) -> None:
    if a.shape != b.shape:
        raise InvalidInput(f"image: shapes {a.shape} and {b.shape} cannot be compared")


def _ssim_terms(x: _Array, y: _Array) -> tuple[_Array, _Array]:
    """Return the mean SSIM and the mean contrast-structure term, each float64 [3], of float64 [3, H, W]."""
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * contrast).mean((1, 2)), contrast.mean((1, 2))


def _blur(x: _Array) -> _Array:
    """Apply the separable Gaussian window where it fits: [3, H, W] -> [3, H - 10, W - 10]."""
    offsets = np.arange(WINDOW_TAPS) - WINDOW_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA_PX**2))
    taps /= taps.sum()
    rows, columns = x.shape[1] - WINDOW_TAPS + 1, x.shape[2] - WINDOW_TAPS + 1
    down = taps[0] * x[:, :rows]
    for i, tap in enumerate(taps[1:], 1):  # in place, since a list of all terms would not fit the cache
        down += tap * x[:, i : i + rows]
    blurred: _Array = taps[0] * down[:, :, :columns]
    for i, tap in enumerate(taps[1:], 1):
        blurred += tap * down[:, :, i : i + columns]
    return blurred


def _halve(x: _Array) -> _Array:
    """Return the means of 2x2 blocks; an odd last row or column is left out."""
    channels, rows, columns = x.shape
    blocks = x[:, : rows // 2 * 2, : columns // 2 * 2].reshape(channels, rows // 2, 2, columns // 2, 2)
    return np.asarray(blocks.mean((2, 4)))
