"""Decoding of picture files to 8-bit sRGB, upright. Needs no torch."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, Jpeg2KImagePlugin, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gocom.common.errors import InvalidInput
from gocom.common.jpeg_scans import scan_components
from gocom.common.png_chunks import check_pixels, without_long_texts
from gocom.common.srgb_conversion import srgb_conversion

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP", "PPM")
"""Formats that are read, as Pillow names them. Pillow reads others too, but opens EPS with an external program."""
WHOLE_PIXELS = 4096 * 4096
"""Largest size, in pixels, at which a picture is decoded. A larger one is shrunk by a whole number on the way."""
MAX_PIXELS = 64 * 10**6
MAX_PIXELS_OF = {"JPEG": 200 * 10**6, "WEBP": 50 * 10**6}
"""Largest size of a picture that is read, so that no more than 1 GB of memory is taken: JPEG files are shrunk while
they are decoded, and of WebP files there are four copies. A larger picture is refused before it is decoded: an image
bomb is small on disk."""
MAX_COEFFICIENT_BYTES = 640 << 20
"""Largest memory for the coefficients of a JPEG file of several scans, all of which are held at once."""
MAX_TILE_PIXELS = 1 << 24
"""Largest size of a tile of a TIFF file that is larger than the picture. A whole tile is decoded at once."""
_BAND_PIXELS = 1 << 22
"""Pixels that are converted to RGB at a time."""
_MAX_WORDS = 200
"""Characters of Pillow's words that an error message quotes."""
_ADVICE = (
    "JPEG files are read up to 200 megapixels, WebP files up to 50, others up to 64; shrink it first, for example with "
    "`magick INPUT -resize 4096x4096 OUTPUT.png`"
)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What turns a picture upright, by its EXIF orientation."""
_ON_ITS_SIDE = (
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
)  # fmt: skip
"""Those of them that exchange width and height."""


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

    A picture of more than WHOLE_PIXELS is shrunk by the smallest whole number (JPEG: power of 2) that makes it fit.

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
            if picture.format == "PNG" and picture.fp is not None:
                check_pixels(picture.fp)
            factor = _factor(picture)
            if factor > 1 and _shrinks_itself(picture, factor):
                factor = 1
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            pixels = _to_pixels(picture, factor)
    except InvalidInput:
        raise
    except Image.DecompressionBombError:  # of WebP files, whose reader checks it too
        raise InvalidInput(f"{field_name}: has too many pixels; {_ADVICE}") from None
    except UnidentifiedImageError:
        raise InvalidInput(f"{field_name}: not a readable image; {', '.join(FORMATS)} are read") from None
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise InvalidInput(f"{field_name}: not a readable image: {describe_error(error)}") from error
    if turn is not None:
        pixels = np.asarray(Image.fromarray(pixels).transpose(turn), dtype=np.uint8)
    return DecodedImage(pixels, (given[1], given[0]) if turn in _ON_ITS_SIDE else given)


def _open_picture(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a picture as Image.open does, but say why a file of a known format cannot be opened.

    Image.open also refuses pictures of more than 179 million pixels, and warns of half as many, on stderr.

    Raises:
        UnidentifiedImageError: the file has none of FORMATS.
        Exception: any other, for a file that looks like one of them but cannot be opened.
    """
    Image.init()
    prefix, problem = file.read(16), ""
    if not prefix:
        raise OSError("the file is empty")
    for name in FORMATS:
        reader, accepts = Image.OPEN[name]
        accepted = accepts(prefix) if accepts is not None else True
        if isinstance(accepted, str):
            problem = accepted  # this Pillow was built without the format
        elif accepted:
            file.seek(0)
            try:
                if name == "PNG":
                    return _open_png(reader, file)
                return _open_jpeg(file) if name == "JPEG" else reader(file, "")
            except SyntaxError as error:  # what Pillow raises for a file of another format
                problem = f"{name}: {describe_error(error)}"
    if problem:
        raise OSError(problem)
    raise UnidentifiedImageError


def _open_png(reader: Callable[[IO[bytes], str | bytes], ImageFile.ImageFile], file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a PNG file, whatever texts it has."""
    file, profile = without_long_texts(file)
    picture = reader(file, "")
    if profile is not None:
        picture.info["icc_profile"] = profile
    return picture


def _open_jpeg(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open a JPEG file, and note in `info` how many components each scan has."""
    scans = scan_components(file)
    file.seek(0)
    picture = JpegImagePlugin.JpegImageFile(file)  # the usual reader also looks for further pictures behind the first
    picture.info["scans"] = scans
    return picture


def _check_size(picture: ImageFile.ImageFile, field_name: str, max_side_px: int | None) -> None:
    """Raise InvalidInput if a picture is too large to be decoded."""
    width, height = picture.size
    if max_side_px is not None and max(width, height) > max_side_px:
        raise InvalidInput(f"{field_name}: {width}x{height} px; a side may have {max_side_px}")
    if width * height > MAX_PIXELS_OF.get(str(picture.format), MAX_PIXELS):
        raise InvalidInput(f"{field_name}: {width}x{height} px are too many; {_ADVICE}")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tile = [int(picture.tag_v2.get(tag, 0)) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > max(width * height, MAX_TILE_PIXELS):
            raise InvalidInput(
                f"{field_name}: tiles of {tile[0]}x{tile[1]} px are too many for a picture of {width}x{height} px"
            )
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and (
        picture.info.get("progressive") or picture.info["scans"] != [len(picture.layer)]
    ):
        sampling = [(across, down) for _, across, down, _ in picture.layer]
        dense = max(across for across, _ in sampling) * max(down for _, down in sampling)
        if 2 * width * height * sum(across * down for across, down in sampling) > MAX_COEFFICIENT_BYTES * dense:
            raise InvalidInput(
                f"{field_name}: {width}x{height} px are too many for a JPEG file of several scans; {_ADVICE}"
            )


def _factor(picture: ImageFile.ImageFile) -> int:
    """Return the smallest whole number by which a picture has to be shrunk to have at most WHOLE_PIXELS."""
    width, height = picture.size
    factor = 1
    while -(-width // factor) * -(-height // factor) > WHOLE_PIXELS:
        factor = factor * 2 if picture.format in ("JPEG", "JPEG2000") else factor + 1
    return factor


def _shrinks_itself(picture: ImageFile.ImageFile, factor: int) -> bool:
    """Have a picture decoded at 1 / factor of its size, if its format can do that; return whether it can."""
    if isinstance(picture, Jpeg2KImagePlugin.Jpeg2KImageFile):
        picture.reduce = factor.bit_length() - 1
        return True
    return picture.draft(None, (picture.width // factor, picture.height // factor)) is not None


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
    """Return what an exception says, in one line; with the name of its class if that is no word."""
    words = " ".join(str(error).split())[:_MAX_WORDS]
    return words if any(letter.isalpha() for letter in words) else f"{type(error).__name__} {words}".rstrip()
