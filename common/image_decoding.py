"""Decoding of picture files to 8-bit sRGB, upright. Needs no torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from gocom.common.errors import InvalidInput
from gocom.common.png_chunks import checked_png
from gocom.common.srgb_conversion import srgb_conversion

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP", "PPM")
"""Formats that are read, as Pillow names them. Pillow reads others too, but opens EPS with an external program."""
WHOLE_PIXELS = 4096 * 4096
"""Largest size, in pixels, at which a picture is decoded. A larger one is shrunk by a whole number on the way."""
MAX_PIXELS, MAX_JPEG_PIXELS = 64 * 10**6, 200 * 10**6
"""Largest size of a picture that is read; JPEG files can be shrunk while they are decoded. A larger one is refused
before it is decoded: an image bomb is small on disk."""
MAX_COEFFICIENT_BYTES = 640 << 20
"""Largest memory for the coefficients of a progressive JPEG file, all of which are held at once."""
_BAND_PIXELS = 1 << 22
"""Pixels that are converted to RGB at a time."""
_MAX_WORDS = 200
"""Characters of Pillow's words that an error message quotes."""
_ADVICE = "shrink it first, for example with `magick INPUT -resize 4096x4096 OUTPUT.png`"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What turns a picture upright, by its EXIF orientation."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture from a file.

    Attributes:
        pixels: uint8 [H, W, 3], sRGB.
        given_px: (width, height) of the file's picture, upright; `pixels` has fewer if the picture was too large.
    """

    pixels: npt.NDArray[np.uint8]
    given_px: tuple[int, int]


def decode_image(data: bytes, *, field_name: str = "image", max_side_px: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode the first picture of a file: return uint8 [H, W, 3], sRGB. Arguments and errors as for decode_file."""
    return decode_file(io.BytesIO(data), field_name=field_name, max_side_px=max_side_px).pixels


def decode_file(file: IO[bytes], *, field_name: str = "image", max_side_px: int | None = None) -> DecodedImage:
    """Decode the first picture of a file, convert it to sRGB, and turn it upright as its EXIF data says.

    A picture of more than WHOLE_PIXELS is shrunk by the smallest whole number (JPEG: 2, 4 or 8) that makes it fit.

    Args:
        file: a file in one of FORMATS, open for reading, that can be sought in.
        field_name: name of the input, for error messages.
        max_side_px: longest side of a picture that is decoded, in pixels; None: only the number of pixels is limited.

    Raises:
        InvalidInput: the file is no such picture, is truncated, or is damaged as far as its format lets see that (JPEG
            files have no checksum); the picture is too large, or its values have no stated range.
    """
    try:
        with _open_picture(file) as picture:
            given = picture.size
            _check_size(picture, field_name, max_side_px)
            factor = _factor(picture)
            if factor > 1 and picture.format == "JPEG":
                picture.draft(None, (picture.width // factor, picture.height // factor))
                factor = 1
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            pixels = _to_pixels(picture, factor)
    except InvalidInput:
        raise
    except UnidentifiedImageError:
        raise InvalidInput(f"{field_name}: not a readable image; {', '.join(FORMATS)} are read") from None
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise InvalidInput(f"{field_name}: not a readable image: {describe_error(error)}") from error
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn), dtype=np.uint8)
    on_its_side = (given[0] > given[1]) != (pixels.shape[1] > pixels.shape[0])
    return DecodedImage(pixels, (given[1], given[0]) if on_its_side else given)


def _open_picture(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture as Image.open does, but say why a file of a known format cannot be opened.

    Image.open also refuses pictures of more than 179 million pixels, and warns of half as many, on stderr.

    Raises:
        UnidentifiedImageError: the file has none of FORMATS.
        Exception: any other, for a file that looks like one of them but cannot be opened.
    """
    Image.init()
    prefix, problem = file.read(16), ""
    for name in FORMATS:
        reader, accepts = Image.OPEN[name]
        accepted = accepts(prefix) if accepts is not None else True
        if isinstance(accepted, str):
            problem = accepted  # this Pillow was built without the format
        elif accepted:
            file.seek(0)
            if name == "PNG":
                file = checked_png(file)
                file.seek(0)
            try:
                # The usual reader of JPEG files also looks for further pictures behind the first.
                return JpegImagePlugin.JpegImageFile(file) if name == "JPEG" else reader(file, "")
            except SyntaxError as error:  # what Pillow raises for a file of another format
                problem = f"{name}: {describe_error(error)}"
    if problem:
        raise OSError(problem)
    raise UnidentifiedImageError


def _check_size(picture: ImageFile.ImageFile, field_name: str, max_side_px: int | None) -> None:
    """Raise InvalidInput if a picture is too large to be decoded."""
    width, height = picture.size
    if max_side_px is not None and max(width, height) > max_side_px:
        raise InvalidInput(f"{field_name}: {width}x{height} px; a side may have {max_side_px}")
    most = MAX_JPEG_PIXELS if picture.format == "JPEG" else MAX_PIXELS
    if width * height > most:
        raise InvalidInput(
            f"{field_name}: {width}x{height} px; JPEG files are read up to {MAX_JPEG_PIXELS // 10**6} megapixels, "
            f"others up to {MAX_PIXELS // 10**6}; {_ADVICE}"
        )
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and picture.info.get("progressive"):
        sampling = [(across, down) for _, across, down, _ in picture.layer]
        dense = max(across for across, _ in sampling) * max(down for _, down in sampling)
        if 2 * width * height * sum(across * down for across, down in sampling) > MAX_COEFFICIENT_BYTES * dense:
            raise InvalidInput(f"{field_name}: {width}x{height} px are too many for a progressive JPEG file; {_ADVICE}")


def _factor(picture: ImageFile.ImageFile) -> int:
    """Return the smallest whole number by which a picture has to be shrunk to have at most WHOLE_PIXELS."""
    width, height = picture.size
    factor = 1
    while -(-width // factor) * -(-height // factor) > WHOLE_PIXELS:
        factor = factor * 2 if picture.format == "JPEG" else factor + 1
    return factor


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of a loaded picture, 1 to 8; 1 without one, or if the EXIF data is damaged."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow's parser raises many types
        return 1


def _to_pixels(picture: Image.Image, factor: int) -> npt.NDArray[np.uint8]:
    """Convert a loaded picture to uint8 [H, W, 3], sRGB, shrunk by a whole number; band by band, for less memory."""
    convert = srgb_conversion(picture)
    width, height = picture.size
    rows = max(1, _BAND_PIXELS // (width * factor)) * factor
    pixels = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    for top in range(0, height, rows):
        band = picture if rows >= height else picture.crop((0, top, width, min(top + rows, height)))
        rgb = convert(band)
        shrunk = rgb.reduce(factor) if factor > 1 else rgb
        pixels[top // factor : top // factor + shrunk.height] = np.asarray(shrunk)
    return pixels


def describe_error(error: Exception) -> str:
    """Return what an exception says, in one line; the name of its class if it says nothing."""
    return " ".join(str(error).split())[:_MAX_WORDS] or type(error).__name__
