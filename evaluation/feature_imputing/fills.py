"""Filling erased features without a net: what the imputer has to beat.

Each takes float32 [h, w, C], of which erased features may be anything, and bool [h, w, C], and gives float32 [h, w, C].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from skimage.restoration import inpaint_biharmonic

from gocom.common.types import Bools, Floats

Fill = Callable[[Floats, Bools], Floats]
_TRIANGLE = 3


def zeros(features: Floats, received: Bools) -> Floats:
    """0: the mean of a feature over the training pictures, nearly."""
    return np.where(received, features, np.float32(0))


def mean(features: Floats, received: Bools) -> Floats:
    """The mean of the channel's received features in this picture; 0 where none arrived."""
    count = received.sum((0, 1))
    means = np.where(received, features, 0).sum((0, 1)) / np.maximum(count, 1)
    filled: Floats = np.where(received, features, means).astype(np.float32)
    return filled


def bilinear(features: Floats, received: Bools) -> Floats:
    """Linear over the triangles between received features of the channel; beyond them the nearest one."""
    return _by_mask(features, received, _linear)


def biharmonic(features: Floats, received: Bools) -> Floats:
    """As smooth as can be: the biharmonic equation over the holes (Damelin and Hoang 2018, of scikit-image)."""
    return _by_mask(features, received, lambda planes, known: inpaint_biharmonic(planes, ~known, channel_axis=-1))


FILLS: dict[str, Fill] = {"zeros": zeros, "mean": mean, "bilinear": bilinear, "biharmonic": biharmonic}


def _by_mask(features: Floats, received: Bools, fill: Callable[[Floats, Bools], Floats]) -> Floats:
    """Channels that have the same mask go together; of one with no or few received features the means are taken."""
    filled, known = mean(features, received), np.where(received, features, np.float32(0))
    masks, group = np.unique(received.reshape(-1, received.shape[2]), axis=1, return_inverse=True)
    for index, mask in enumerate(masks.T.reshape(-1, *received.shape[:2])):
        if mask.sum() > _TRIANGLE and not mask.all():
            channels = np.flatnonzero(group == index)
            filled[..., channels] = fill(np.ascontiguousarray(known[..., channels]), mask)
    return np.where(received, features, filled)


def _linear(planes: Floats, known: Bools) -> Floats:
    """float32 [h, w, n], bool [h, w]."""
    places, holes = np.argwhere(known), np.argwhere(~known)
    guess = NearestNDInterpolator(places, planes[known])(holes)
    spans = np.linalg.matrix_rank(places - places[0]) == places.shape[1]
    if spans:  # else there are no triangles
        between = LinearNDInterpolator(places, planes[known])(holes)
        guess = np.where(np.isnan(between), guess, between)
    filled = planes.copy()
    filled[~known] = guess
    return filled
