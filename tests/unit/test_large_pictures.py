"""Photos larger than can be sent: they are shrunk while they are read, within a memory that is stated."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gocom.client.picture_input import load_picture
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import MAX_PIXELS, WHOLE_PIXELS, decode_file

STRIP_PX = 16


def saved(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def jpeg_of_strips(width, strips):
    """A JPEG file whose height is `strips` times STRIP_PX: one strip is compressed, and repeated."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    rows = np.broadcast_to(ramp[None, :, None], (STRIP_PX, width, 3))
    data = saved(Image.fromarray(np.ascontiguousarray(rows)), "JPEG", restart_marker_rows=1)
    begin = data.index(b"\xff\xda") + 2
    begin += int.from_bytes(data[begin : begin + 2], "big")
    head, strip = bytearray(data[:begin]), data[begin:-2]
    frame = head.index(b"\xff\xc0") + 5
    head[frame : frame + 2] = (strips * STRIP_PX).to_bytes(2, "big")
    marks = (b"\xff" + bytes([0xD0 + number % 8]) for number in range(strips - 1))
    return bytes(head) + strip + b"".join(mark + strip for mark in marks) + b"\xff\xd9"


def test_a_photo_of_24_megapixels_is_shrunk():
    picture = load_picture(jpeg_of_strips(6000, 250), "fit")
    assert picture.given_px == (6000, 4000) and picture.pixels.shape == (683, 1024, 3)
    wanted = np.linspace(0, 255, 1024)[None, :, None]
    assert np.abs(picture.pixels.astype(int) - wanted).max() <= 4


def test_up_to_16_megapixels_every_pixel_is_decoded_and_beyond_a_whole_number_shrinks():
    whole = np.zeros((64, WHOLE_PIXELS // 64), bool)
    decoded = decode_file(io.BytesIO(saved(Image.fromarray(whole))))
    assert decoded.pixels.shape[:2] == whole.shape
    decoded = decode_file(io.BytesIO(saved(Image.fromarray(np.zeros((65, WHOLE_PIXELS // 64), bool)))))
    assert decoded.pixels.shape == (33, WHOLE_PIXELS // 128, 3) and decoded.given_px == (WHOLE_PIXELS // 64, 65)


def test_a_large_picture_is_shrunk_evenly_across_the_bands_it_is_converted_in():
    grey = (np.arange(9000) // 36).astype(np.uint8)
    picture = Image.fromarray(np.broadcast_to(grey[:, None], (9000, 2003)).copy())
    pixels = decode_file(io.BytesIO(saved(picture, compress_level=1))).pixels
    assert pixels.shape == (4500, 1002, 3)
    assert np.abs(pixels[:, 0, 0].astype(int) - np.arange(4500) // 18).max() <= 1


def test_a_large_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.new("L", (5000, 4000))
    picture = load_picture(saved(photo, "JPEG", exif=exif), "fit")
    assert picture.given_px == (4000, 5000) and picture.pixels.shape == (1024, 819, 3)


def test_beyond_the_limits_the_message_says_what_to_do():
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(InvalidInput, match=rf"{side}x{side} px; .*200 megapixels, others up to 64; shrink it first"):
        load_picture(saved(Image.new("1", (side, side))), "fit")
    with pytest.raises(InvalidInput, match="shrink it first, for example with `magick"):
        load_picture(jpeg_of_strips(20000, 626), "fit")


def test_without_fit_a_large_picture_is_not_sent_and_the_message_names_fit():
    with pytest.raises(InvalidInput, match="5000x64 px cannot be sent; sides must be 64 to 1024; size fit shrinks it"):
        load_picture(saved(Image.new("L", (5000, 64))))


MEASURE = """
import resource, sys
from gocom.client.picture_input import load_picture
print(load_picture(sys.argv[1], "fit").given_px, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"), [("jpeg", 14142), ("rgba.png", 8000), ("rgb.tif", 8000), ("grey16.png", 8000), ("p.gif", 8000)]
)
def test_the_largest_pictures_take_less_than_a_gigabyte(tmp_path, name, side):
    path = tmp_path / name
    if name == "jpeg":
        path.write_bytes(jpeg_of_strips(side, side // STRIP_PX))
    else:
        mode = {"rgba.png": "RGBA", "rgb.tif": "RGB", "grey16.png": "I;16", "p.gif": "P"}[name]
        Image.new(mode, (side, side)).save(path)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1_000_000 and done.stderr == ""
