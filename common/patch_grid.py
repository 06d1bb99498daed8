"""The grid of square patches of an image, whose sides are padded to multiples of a patch."""

from __future__ import annotations

import numpy as np

from gocom.common.image_files import ImageArray
from gocom.common.types import Bytes


def grid_shape(width_px: int, height_px: int, patch_px: int) -> tuple[int, int]:
    """Return (rows, columns) of patches of an image; patches at its right and lower edges may go beyond it."""
    return -(-height_px // patch_px), -(-width_px // patch_px)


def pad_to_patches(image: ImageArray, patch_px: int) -> ImageArray:
    """Repeat the last row and column of an image until both sides are multiples of a patch.

    Args:
        image: float32 [3, H, W].
        patch_px: side of a patch in pixels.

    Returns:
        float32 [3, H', W'].
    """
    bottom, right = -image.shape[1] % patch_px, -image.shape[2] % patch_px
    return np.pad(image, ((0, 0), (0, bottom), (0, right)), mode="edge") if bottom or right else image


def paint_patches(values: Bytes, width_px: int, height_px: int, patch_px: int) -> Bytes:
    """Return the value of each pixel's patch, uint8 [height_px, width_px].

    Args:
        values: uint8 [rows, columns], one value a patch.
        width_px, height_px: size of the image, at which the patches are cut.
        patch_px: side of a patch in pixels.
    """
    return values.repeat(patch_px, 0).repeat(patch_px, 1)[:height_px, :width_px]
