"""Kernel distance: how far a set of reconstructions is from the set of originals, on EfficientNet-lite2's features.

The unbiased squared maximum mean discrepancy with a cubic polynomial kernel (Bińkowski et al., "Demystifying MMD GANs",
2018, section 4). They take Inception's features and call it KID; on other features it is another number, and is
called by another name here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput

if TYPE_CHECKING:  # the judge needs torch
    from gocom.evaluation.measure.statistics import Interval

MIN_PICTURES = 500
SUBSETS = 200
"""Over which the interval is taken."""

_Features = npt.NDArray[np.float32]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


def kernel_distance(originals: _Features, images: _Features, seed: int = 0) -> Interval:
    """(value, low, high): unbiased MMD^2 of all pictures, and its 95 % interval; below 0 by chance where sets agree.

    The interval is from 200 subsets of half of each set, drawn without replacement (a resample with repeats would
    hold pairs of one picture with itself, which the estimate leaves out): a half's spread about the whole is, to first
    order, that of the whole about the truth. The two sets are drawn apart, as if their pictures were not the same:
    where they are, the interval is the wider for it.

    Args:
        originals: features float32 [N, D] (`Judge.features`: D = 1280).
        images: float32 [M, D], of other pictures or of reconstructions.

    Raises:
        InvalidInput: fewer than 500 pictures in a set, or features of different lengths.
    """
    for name, features in (("originals", originals), ("images", images)):
        if len(features) < MIN_PICTURES:
            raise InvalidInput(f"{name}: {len(features)} pictures; the kernel distance needs {MIN_PICTURES} at least")
    if originals.shape[1:] != images.shape[1:]:
        raise InvalidInput(f"images: features {images.shape} and {originals.shape} cannot be compared")
    kernels = kernel(originals, originals), kernel(images, images), kernel(originals, images)
    every = mmd2(*kernels, np.ones((1, len(originals)), bool), np.ones((1, len(images)), bool))
    rng = np.random.default_rng(seed)
    draws = mmd2(*kernels, _halves(rng, len(originals)), _halves(rng, len(images)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(every[0]), float(low), float(high)


def kernel(a: _Features, b: _Features) -> _Floats:
    """(x·y / D + 1)^3 of each row of float32 [N, D] with each of [M, D] -> float64 [N, M]."""
    product: _Floats = a.astype(np.float64) @ b.astype(np.float64).T
    return (product / a.shape[1] + 1) ** 3


def mmd2(within_a: _Floats, within_b: _Floats, across: _Floats, chosen_a: _Bools, chosen_b: _Bools) -> _Floats:
    """Unbiased squared MMD of S subsets: float64 [S].

    Args:
        within_a: kernel of a set with itself, [N, N]; its diagonal, of pictures with themselves, does not count.
        within_b: [M, M].
        across: [N, M].
        chosen_a: bool [S, N], at least two in each.
        chosen_b: bool [S, M].
    """
    a, b = chosen_a.astype(np.float64), chosen_b.astype(np.float64)
    n, m = a.sum(1), b.sum(1)
    of_a = ((a @ within_a) * a).sum(1) - a @ within_a.diagonal()
    of_b = ((b @ within_b) * b).sum(1) - b @ within_b.diagonal()
    of_both = ((a @ across) * b).sum(1)
    found: _Floats = of_a / (n * (n - 1)) + of_b / (m * (m - 1)) - 2 * of_both / (n * m)
    return found


def _halves(rng: np.random.Generator, count: int) -> _Bools:
    """bool [SUBSETS, count], True at a random half of each row."""
    half: _Bools = np.arange(count) < count // 2
    return rng.permuted(np.tile(half, (SUBSETS, 1)), axis=1)
