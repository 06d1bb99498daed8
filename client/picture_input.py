"""Conversion of a picture given as a path, file bytes or pixels to the file bytes that go to the transmitter."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from gocom.client.results import Pixels
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import DecodedImage, decode_file
from gocom.common.image_files import open_image_file, png_bytes, square_crop
from gocom.common.number_checks import whole_number
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
        pixels: uint8 [H, W, 3], sRGB, what those bytes decode to.
        given_px: (width, height) of the picture before `size` changed it.
    """

    data: bytes
    pixels: Pixels
    given_px: tuple[int, int]


def check_sources(images: Sequence[Any]) -> None:
    """Check of many sources what can be checked without reading a file. Raises InvalidInput, which gives the position.

    The position is that in `images`, from 0.
    """
    for index, source in enumerate(images):
        _check_source(source, f"images[{index}]")


def check_size(size: Size) -> Size:
    """Return a size, a number of numpy as an int. Raises InvalidInput if no picture can be sent at it."""
    if size is None or (isinstance(size, str) and size == "fit"):
        return size
    if isinstance(size, str):
        raise InvalidInput(
            f'size: {size!r} is neither None nor "fit" nor a number of pixels, {MIN_SIDE_PX} to {MAX_SIDE_PX}'
        )
    return whole_number("size", size, MIN_SIDE_PX, MAX_SIDE_PX)


def load_picture(source: Source, size: Size = None) -> Picture:
    """Load a picture, and resize it if `size` asks for that.

    The bytes of a file are kept if its pixels do not change, and if they are no more than its pixels. Else the picture
    becomes a PNG file, as an array does.

    Args:
        source: path, bytes of an image file, or uint8 [H, W, 3].
        size: see Size.

    Raises:
        InvalidInput: the file is missing or unreadable, the array or the size is invalid, or a side of the picture is
            outside of 64 to 1024 px, for "fit" once it is shrunk.
    """
    name, data = "image", None
    size = check_size(size)
    _check_source(source, name)
    if isinstance(source, np.ndarray):
        decoded = DecodedImage(source, (source.shape[1], source.shape[0]))
    elif isinstance(source, bytes):
        decoded, data = decode_file(io.BytesIO(source), field_name=name), source
    else:
        path = Path(os.fsdecode(source))
        name = f"image {str(path)!r}"
        with open_image_file(path, name) as file:
            decoded = decode_file(file, field_name=name)
            try:
                file.seek(0)
                data = file.read(decoded.pixels.nbytes + 1)
            except OSError as error:  # a disk may fail between the two readings
                raise InvalidInput(f"{name}: {error.strerror or error}") from None
    pixels = _resize(decoded, size, name)
    unchanged = pixels is decoded.pixels and pixels.shape[:2] == decoded.given_px[::-1]
    # A file may have much more than a picture in it: a film, long texts, other pictures.
    if data is None or not unchanged or len(data) > pixels.nbytes:
        data = png_bytes(pixels)
    return Picture(data, pixels, decoded.given_px)


def _check_source(source: object, name: str) -> None:
    """Raise InvalidInput if this is no picture, whatever is in the file."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise InvalidInput(f"{name}: an array must be uint8 [H, W, 3], got {source.dtype} {list(source.shape)}")
    elif not isinstance(source, str | os.PathLike | bytes):
        raise InvalidInput(
            f"{name}: {type(source).__name__} is no picture; give a path, the bytes of an image file, or an array "
            "uint8 [H, W, 3]"
        )


def _resize(decoded: DecodedImage, size: Size, name: str) -> Pixels:
    pixels, (width, height) = decoded.pixels, decoded.given_px
    if isinstance(size, int):
        return pixels if pixels.shape[:2] == (size, size) else square_crop(pixels, size)
    scale = min(1.0, MAX_SIDE_PX / max(width, height)) if size == "fit" else 1.0
    target = round(width * scale), round(height * scale)
    if min(target) < MIN_SIDE_PX or max(target) > MAX_SIDE_PX:
        hint = "; size fit shrinks it" if max(target) > MAX_SIDE_PX else ""
        raise InvalidInput(
            f"{name}: {width}x{height} px cannot be sent; sides must be {MIN_SIDE_PX} to {MAX_SIDE_PX}{hint}"
        )
    if pixels.shape[:2] == target[::-1]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.LANCZOS), dtype=np.uint8)
