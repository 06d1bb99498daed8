"""Photos larger than can be sent: they are shrunk while they are read, within a memory that is stated."""

import io
import struct
import subprocess
import sys
import zlib

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
    with pytest.raises(InvalidInput, match=rf"{side}x{side} px are too many; .*200 megapixels.*; shrink it first"):
        load_picture(saved(Image.new("1", (side, side))), "fit")
    with pytest.raises(InvalidInput, match="shrink it first, for example with `magick"):
        load_picture(jpeg_of_strips(20000, 626), "fit")
    webp = bytearray(saved(Image.new("RGB", (64, 64)), "WEBP", lossless=True))
    webp[21:25] = (8000 - 1 | (8000 - 1) << 14).to_bytes(4, "little")  # width and height of a lossless picture
    with pytest.raises(InvalidInput, match="8000x8000 px are too many"):
        load_picture(bytes(webp), "fit")
    webp[21:25] = (16383 - 1 | (16383 - 1) << 14).to_bytes(4, "little")
    with pytest.raises(InvalidInput, match="too many pixels; .*shrink it first"):
        load_picture(bytes(webp), "fit")


def test_a_progressive_jpeg_is_refused_where_it_would_take_too_much_memory():
    data = saved(Image.new("RGB", (64, 64)), "JPEG", progressive=True, subsampling=0)
    frame = data.index(b"\xff\xc2") + 5
    huge = data[:frame] + 2 * (12000).to_bytes(2, "big") + data[frame + 4 :]
    with pytest.raises(
        InvalidInput, match="12000x12000 px are too many for a JPEG file of several scans; .*shrink it first"
    ):
        load_picture(huge, "fit")
    photo = Image.new("RGB", (5000, 4000), (90, 30, 30))
    assert load_picture(saved(photo, "JPEG", progressive=True), "fit").given_px == photo.size


def jpeg_of_scans(side, frame, *scans, components=1):
    """A grey JPEG file with this kind of frame. scans: numbers of the components, first and last coefficient, bits."""

    def segment(kind, body):
        return b"\xff" + bytes([kind]) + (len(body) + 2).to_bytes(2, "big") + body

    def scan(numbers, first, last, bits):
        chosen = b"".join(bytes([number, 0]) for number in numbers)
        return segment(0xDA, bytes([len(numbers)]) + chosen + bytes([first, last, 0])) + bits

    size = side.to_bytes(2, "big")
    shape = b"".join(bytes([number, 0x11, 0]) for number in range(1, components + 1))
    lengths = bytes([1] + 15 * [0])  # one code, of one bit
    tables = segment(0xDB, bytes([0] + 64 * [1])) + segment(0xC4, b"\0" + lengths + b"\0")
    tables += segment(0xC4, b"\x10" + lengths + (b"\xe0" if frame == 0xC2 else b"\0"))
    head = segment(frame, b"\x08" + size + size + bytes([components]) + shape)
    return b"\xff\xd8" + tables + head + b"".join(scan(*s) for s in scans) + b"\xff\xd9"


def test_a_jpeg_of_very_many_scans_is_refused():
    first, empty = ([1], 0, 0, bytes(8)), ([1], 1, 63, b"\0\1")
    assert (decode_file(io.BytesIO(jpeg_of_scans(64, 0xC2, first, *400 * [empty]))).pixels == 128).all()
    with pytest.raises(InvalidInput, match="the JPEG file has more than 500 scans"):
        load_picture(jpeg_of_scans(64, 0xC2, first, *501 * [empty]))
    data = saved(Image.new("RGB", (64, 64)), "JPEG")
    assert load_picture(data + 600 * b"\xff\xda\0\2").pixels.shape == (64, 64, 3)  # behind its end
    note = b"\xff\xfe" + (60_002).to_bytes(2, "big") + 15_000 * b"\xff\xda\0\2"
    assert load_picture(data[:2] + note + data[2:]).pixels.shape == (64, 64, 3)
    with pytest.raises(InvalidInput, match="or 10000 segments"):
        load_picture(data[:2] + 10_001 * b"\xff\xfe\0\2" + data[2:])
    with pytest.raises(InvalidInput, match="other data between its segments"):
        load_picture(data[:20] + bytes(1 << 17) + data[20:])


def test_a_jpeg_with_a_scan_for_each_colour_is_refused_where_it_would_take_too_much_memory():
    scans = [([number], 0, 63, bytes(16)) for number in (1, 2, 3)]
    assert decode_file(io.BytesIO(jpeg_of_scans(64, 0xC0, *scans, components=3))).pixels.shape == (64, 64, 3)
    for some in (scans, scans[:1]):
        with pytest.raises(InvalidInput, match="12000x12000 px are too many for a JPEG file of several scans"):
            decode_file(io.BytesIO(jpeg_of_scans(12000, 0xC0, *some, components=3)))


def test_a_tiff_whose_tile_is_far_larger_than_the_picture_is_refused():
    def tiled(side):
        tags = ((256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (322, 4, side),
                (323, 4, side), (324, 4, 200), (325, 4, len(packed)))  # fmt: skip
        entries = b"".join(struct.pack("<HHII", number, kind, 1, value) for number, kind, value in tags)
        return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries).ljust(200, b"\0") + packed

    packed = zlib.compress(bytes([90]) * 256 * 256)
    assert (load_picture(tiled(256)).pixels == 90).all()
    with pytest.raises(InvalidInput, match="tiles of 12288x12288 px are too many for a picture of 64x64 px"):
        load_picture(tiled(12288))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("turn", [1, 3, 5, 6, 7, 8])
def test_the_size_of_a_picture_is_given_upright(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    decoded = decode_file(io.BytesIO(saved(Image.new("L", (65, 64)), kind, exif=exif)))
    assert decoded.given_px == ((64, 65) if turn >= 5 else (65, 64)) == decoded.pixels.shape[1::-1]


def test_a_picture_that_is_almost_square_is_not_taken_for_a_turned_one():
    decoded = decode_file(io.BytesIO(saved(Image.new("1", (4200, 4199)))))
    assert decoded.pixels.shape == (2100, 2100, 3) and decoded.given_px == (4200, 4199)


@pytest.mark.parametrize("kind", ["JPEG2000", "WEBP", "AVIF", "TIFF"])
def test_large_files_of_other_formats_are_shrunk(kind):
    ramp = np.broadcast_to(np.linspace(0, 255, 4608).astype(np.uint8), (4096, 4608))
    options = {"JPEG2000": {"num_resolutions": 3}, "AVIF": {"speed": 10}, "WEBP": {"method": 0}}
    picture = load_picture(saved(Image.fromarray(ramp), kind, **options.get(kind, {})), "fit")
    assert picture.given_px == (4608, 4096) and picture.pixels.shape == (910, 1024, 3)
    assert np.abs(picture.pixels.astype(int) - np.linspace(0, 255, 1024)[None, :, None]).max() <= 8


def test_without_fit_a_large_picture_is_not_sent_and_the_message_names_fit():
    with pytest.raises(InvalidInput, match="5000x64 px cannot be sent; sides must be 64 to 1024; size fit shrinks it"):
        load_picture(saved(Image.new("L", (5000, 64))))


MEASURE = """
import re, sys
from pathlib import Path
from gocom.client.picture_input import load_picture
given = load_picture(sys.argv[1], "fit").given_px
# Not ru_maxrss: it begins with the memory of the process of the tests, from which this one was forked.
print(given, re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
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
