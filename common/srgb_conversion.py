"""Conversion of decoded pictures of all modes and colour spaces to 8-bit sRGB."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

Conversion = Callable[[Image.Image], Image.Image]
"""Function from a picture, or a part of it, to RGB of the same size."""

_NEARLY_SRGB = 2
"""Largest change of a value, of 255, by a profile that counts as sRGB: many slightly different ones are in use."""
_MODES = {
    "RGB ": ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr"),
    "GRAY": ("L", "LA", "La", "1"),
    "CMYK": ("CMYK",),
}
"""Modes of pictures that a profile of each colour space can belong to; it is applied in the first."""
_STATED_RANGES = ((340, 341), (280, 281))
"""TIFF tags of the smallest and the largest sample: SMinSampleValue and SMaxSampleValue, then those for integers."""
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


def srgb_conversion(picture: Image.Image) -> Conversion:
    """Return the function that converts a loaded picture, or a crop of it, to 8-bit sRGB.

    Colours are converted as the picture's ICC profile says (perceptual intent); a profile that is broken, or is of
    another colour space than the picture, is ignored, as viewers do. Transparent pictures are laid on white. 16-bit
    grey keeps its upper 8 bits. Floats, and integers of another range, are scaled by the range that their TIFF tags
    SMinSampleValue and SMaxSampleValue state; NaN becomes black.

    Raises:
        ValueError: the picture's values have no range by which they could be scaled.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _grey_conversion(picture)
    if picture.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.ImageCmsTransform(lab, _srgb(), "LAB", "RGB").apply
    base, colours = _profile_conversion(picture)
    return partial(_to_rgb, base=base, colours=colours)


def _to_rgb(picture: Image.Image, base: str, colours: Conversion | None) -> Image.Image:
    """Convert to RGB. `colours`: conversion by the profile, from mode `base`; None: there is none to be obeyed."""
    if not picture.has_transparency_data:
        return picture.convert("RGB") if colours is None else colours(picture.convert(base))
    layer = picture.convert("RGBA")
    if colours is not None:
        alpha = layer.getchannel("A")
        layer = colours(layer.convert(base))
        layer.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _profile_conversion(picture: Image.Image) -> tuple[str, Conversion | None]:
    """Return the mode in which the picture's ICC profile is applied, and its conversion; None: nothing to convert."""
    data = picture.info.get("icc_profile")
    if not data:
        return "RGB", None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        modes = _MODES.get(profile.profile.xcolor_space, ())
        if picture.mode not in modes:
            return "RGB", None
        transform = ImageCms.ImageCmsTransform(profile, _srgb(), modes[0], "RGB", ImageCms.Intent.PERCEPTUAL)
    except (OSError, ValueError):  # what Pillow raises for a profile that littlecms cannot use
        return "RGB", None
    probe = _probe(modes[0])
    if probe is not None:
        before, after = (np.asarray(p, np.int16) for p in (probe.convert("RGB"), transform.apply(probe)))
        if np.abs(after - before).max() <= _NEARLY_SRGB:
            return "RGB", None
    return modes[0], transform.apply


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _probe(mode: str) -> Image.Image | None:
    """Return a picture of colours from all over a mode; None: no profile of the mode can be sRGB."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if mode == "RGB":
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3))
    return None


def _grey_conversion(picture: Image.Image) -> Conversion:
    """Return the conversion of a picture with one channel of floats or of integers of more than 8 bits."""
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    inverted = tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    if picture.mode.startswith("I;16") or (picture.mode == "I" and not tags):
        bits = min(16, int(_first(tags.get(BITSPERSAMPLE, 16))))
        return partial(_shifted, shift=bits - 8, inverted=inverted)
    unsigned = _first(tags.get(SAMPLEFORMAT, _UNSIGNED)) == _UNSIGNED
    for low_tag, high_tag in _STATED_RANGES:
        if low_tag in tags and high_tag in tags:
            low, high = _first(tags[low_tag]), _first(tags[high_tag])
            if math.isfinite(low) and math.isfinite(high) and low < high:
                return partial(_scaled, low=low, high=high, inverted=inverted, unsigned=unsigned)
    raise ValueError(
        f"{'float' if picture.mode == 'F' else '32-bit or signed'} values without a stated range, which the TIFF tags "
        "SMinSampleValue and SMaxSampleValue can give; 8-bit and 16-bit values are read as they are"
    )


def _first(value: float | tuple[float, ...]) -> float:
    """Return the value of a TIFF tag for the first channel."""
    return value[0] if isinstance(value, tuple) else value


def _shifted(picture: Image.Image, shift: int, inverted: bool) -> Image.Image:
    """Convert unsigned integers of shift + 8 bits, at most 16, to grey RGB."""
    values = np.asarray(picture)
    if picture.mode == "I":
        values = values.clip(0, 65535)
    return _grey((values >> shift).astype(np.uint8), inverted)


def _scaled(picture: Image.Image, low: float, high: float, inverted: bool, unsigned: bool) -> Image.Image:
    """Convert floats or integers to grey RGB; low becomes black and high becomes white."""
    values = np.asarray(picture)
    if values.dtype == np.int32 and unsigned:
        values = values.view(np.uint32)
    share = ((values.astype(np.float64) - low) / (high - low)).clip(0, 1)
    return _grey((np.nan_to_num(share) * 255 + 0.5).astype(np.uint8), inverted)


def _grey(values: npt.NDArray[np.uint8], inverted: bool) -> Image.Image:
    return Image.fromarray(255 - values if inverted else values).convert("RGB")
