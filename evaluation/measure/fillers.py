"""Filling missing tokens without a net: what the denoiser has to beat."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from gocom.common.types import Bools, Ints


def nearest_received(tokens: Ints, received: Bools) -> Ints:
    """Tokens int64 [h, w] with each missing one replaced by the nearest that arrived (Euclidean); none did: all 0."""
    if not received.any():
        return np.zeros_like(tokens)
    _, index = distance_transform_edt(~received, return_indices=True)
    filled: Ints = tokens[tuple(index)]
    return filled


def most_frequent_received(tokens: Ints, received: Bools) -> Ints:
    """Tokens int64 [h, w] with each missing one replaced by the most frequent of its received neighbours.

    Of the 8 around it; where none of them arrived, of the 24, 48, ... until one did. Of two that are as frequent, the
    one that is nearer (Euclidean), then the smaller. Nothing arrived: all 0.
    """
    if not received.any():
        return np.zeros_like(tokens)
    filled = tokens.copy()
    for row, column in np.argwhere(~received).tolist():
        filled[row, column] = _most_frequent(tokens, received, row, column)
    return filled


def _most_frequent(tokens: Ints, received: Bools, row: int, column: int) -> int:
    for reach in range(1, max(tokens.shape) + 1):
        top, left = max(0, row - reach), max(0, column - reach)
        near = received[top : row + reach + 1, left : column + reach + 1]
        if near.any():
            break
    rows, columns = np.nonzero(near)
    squared = (rows + top - row) ** 2 + (columns + left - column) ** 2
    words, inverse, counts = np.unique(tokens[rows + top, columns + left], return_inverse=True, return_counts=True)
    closest = np.full(len(words), np.iinfo(np.int64).max)
    np.minimum.at(closest, inverse, squared)
    return int(words[np.lexsort((words, closest, -counts))[0]])
