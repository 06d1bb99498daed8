"""Conversion of a picture given as a path, file bytes or pixels to the file bytes that go to the transmitter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from gocom.client.results import Pixels
from gocom.common.errors import InvalidInput
from gocom.common.image_files import decode_image, png_bytes, square_crop
from gocom.common.types import MAX_SIDE_PX, MIN_SIDE_PX

Source = str | Path | bytes | Pixels
Size = int | Literal["fit"] | None
"""Size to send a picture at. None: as it is. "fit": shrunk to at most 1024 px a side, aspect kept. A number: centre
square crop with a side of that many pixels, 64 to 1024."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready to be sent.

    Attributes:
        data: bytes of an image file, as the transmitter gets them.
        pixels: uint8 [H, W, 3], what those bytes decode to.
    """

    data: bytes
    pixels: Pixels


def load_picture(source: Source, size: Size = None) -> Picture:
    """Load a picture, and resize it if `size` asks for that.

    The bytes of a file are kept if its pixels do not change; changed pixels, and those of an array, become a PNG file.

    Args:
        source: path, bytes of an image file, or uint8 [H, W, 3].
        size: see Size.

    Raises:
        InvalidInput: the file is missing or unreadable, the array or the size is invalid, or "fit" would leave a side
            below 64 px.
    """
    name = "image"
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise InvalidInput(f"image: an array must be uint8 [H, W, 3], got {source.dtype} {list(source.shape)}")
        data, pixels = None, source
    else:
        if isinstance(source, bytes):
            data = source
        else:
            name = f"image {str(source)!r}"
            data = _read_file(Path(source), name)
        pixels = decode_image(data, field_name=name)
    resized = _resize(pixels, size, name)
    if resized is not pixels or data is None:
        data = png_bytes(resized)
    return Picture(data, resized)


def _read_file(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{name}: {error.strerror or error}") from None


def _resize(pixels: Pixels, size: Size, name: str) -> Pixels:
    if size is None:
        return pixels
    height, width = pixels.shape[:2]
    if size == "fit":
        if max(height, width) <= MAX_SIDE_PX:
            scaled_height, scaled_width = height, width
        else:
            scale = MAX_SIDE_PX / max(height, width)
            scaled_height, scaled_width = round(height * scale), round(width * scale)
        if min(scaled_height, scaled_width) < MIN_SIDE_PX:
            raise InvalidInput(
                f"{name}: {width}x{height} px cannot be sent; sides must be {MIN_SIDE_PX} to {MAX_SIDE_PX}"
            )
        if (scaled_height, scaled_width) == (height, width):
            return pixels
        shrunk = Image.fromarray(pixels).resize((scaled_width, scaled_height), Image.Resampling.LANCZOS)
        return np.asarray(shrunk, dtype=np.uint8)
    if not MIN_SIDE_PX <= size <= MAX_SIDE_PX:
        raise InvalidInput(f"size: {size} is not in {MIN_SIDE_PX} to {MAX_SIDE_PX}")
    return pixels if (height, width) == (size, size) else square_crop(pixels, size)
