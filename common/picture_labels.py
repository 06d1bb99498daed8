"""Words written on a picture, so that whoever sees it alone knows what it is."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gocom.common.image_files import ImageArray, to_float, to_uint8

_MARGIN_PX = 2


def write_label(image: ImageArray, words: str) -> ImageArray:
    """Return an image, float32 [3, H, W] in [0, 1], with words in white on black in its upper left corner.

    The letters are a tenth of the height, and smaller where the words would not fit.
    """
    picture = Image.fromarray(to_uint8(image))
    size_px = max(8, picture.height // 10)
    font = ImageFont.load_default(size_px)
    while size_px > 6 and font.getlength(words) > picture.width - 2 * _MARGIN_PX:
        size_px -= 1
        font = ImageFont.load_default(size_px)
    draw = ImageDraw.Draw(picture)
    right, bottom = draw.textbbox((_MARGIN_PX, _MARGIN_PX), words, font)[2:]
    draw.rectangle((0, 0, right + _MARGIN_PX, bottom + _MARGIN_PX), "black")
    draw.text((_MARGIN_PX, _MARGIN_PX), words, "white", font)
    return to_float(np.asarray(picture))
