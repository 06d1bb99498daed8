"""From what a user hands over (path, file bytes, pixels) to what goes to the transmitter."""

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
"""None: as it is. "fit": shrunk to fit 64 to 1024 px, aspect kept. A number: centre square crop of so many pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file's bytes as the transmitter gets them, and the pixels they decode to, uint8 [H, W, 3]."""

    data: bytes
    pixels: Pixels


def load_picture(source: Source, size: Size = None) -> Picture:
    """Read a picture. Files go out as they are, unless `size` asks for other pixels; then, as pixels do, as PNG.

    Raises InvalidInput for a missing or unreadable file, a wrong array, and sides that "fit" cannot bring into range.
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
