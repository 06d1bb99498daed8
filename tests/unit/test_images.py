"""Pictures as people have them: turned by EXIF, 16 bits deep, transparent, broken, too large."""

import io

import numpy as np
import pytest
from PIL import Image

from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import list_images, square_crop


def saved(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_exif_orientation_is_obeyed():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(saved(Image.new("RGB", (200, 100)), "JPEG", exif=exif)).shape == (200, 100, 3)


def test_sixteen_bits_are_scaled():
    deep = Image.fromarray(np.full((8, 8), 30000, np.uint16))
    assert (decode_image(saved(deep)) == 30000 >> 8).all()


def test_transparency_is_laid_on_white():
    assert (decode_image(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))) == 255).all()


def test_broken_and_huge_pictures_are_named():
    with pytest.raises(InvalidInput, match="photo: not a readable image"):
        decode_image(b"nothing", field_name="photo")
    with pytest.raises(InvalidInput, match="megapixels"):
        decode_image(saved(Image.new("1", (9000, 9000))))
    with pytest.raises(InvalidInput, match="no file or folder"):
        list_images([__import__("pathlib").Path("/nowhere/at.png")])


def test_square_crop_is_centred():
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 200
    assert (square_crop(pixels, 50) == 200).all()
