"""Makers of picture files for tests: of all colour spaces and depths, put together byte by byte."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from gocom.common.image_decoding import decode_image

RNG = np.random.default_rng(7)
PHOTO = np.asarray(Image.fromarray(RNG.integers(0, 255, (12, 16, 3), np.uint8)).resize((160, 120)))
RED, GREEN = (200, 30, 30), (30, 200, 30)


def saved(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def flat(mode, colour, kind="PNG", **options):
    return saved(Image.new(mode, (64, 64), colour), kind, **options)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*more, pixels=PHOTO, packed=None):
    """A PNG file with chunks before its pixels; packed: the compressed pixels to put in place of the right ones."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)
    packed = zlib.compress(rows.tobytes()) if packed is None else packed
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(values, bits, sample_format, photometric=1, tags=()):
    """A TIFF file with one channel. tags: (number, type, struct's letter, value) of further ones."""
    entries = [
        (256, 3, "H", 64), (257, 3, "H", 64), (258, 3, "H", bits), (259, 3, "H", 1), (262, 3, "H", photometric),
        (273, 4, "I", 1024), (277, 3, "H", 1), (278, 4, "I", 64), (279, 4, "I", len(values)),
        (339, 3, "H", sample_format), *tags,
    ]  # fmt: skip
    body, far = struct.pack("<H", len(entries)), b""
    for number, kind, letter, value in sorted(entries):
        packed = struct.pack("<" + letter, value)
        if len(packed) > 4:
            packed, far = struct.pack("<I", 512 + len(far)), far + packed
        body += struct.pack("<HHI", number, kind, 1) + packed.ljust(4, b"\0")
    return (b"II*\0\x08\0\0\0" + body + bytes(4)).ljust(512, b"\0") + far.ljust(512, b"\0") + values


def icc(space, tags, connection=b"Lab "):
    """An ICC profile. tags: bytes by name."""
    begin, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    head = struct.pack(">I4sI4s4s4s", begin + len(body), b"lcms", 0x02100000, b"prtr", space, connection)
    white = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head + bytes(12) + b"acsp" + bytes(28) + white + bytes(48) + struct.pack(">I", len(tags)) + table + body


def swapped_profile():
    """sRGB, but red and green have changed places."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, other in ((b"rXYZ", b"____"), (b"gXYZ", b"rXYZ"), (b"____", b"gXYZ")):
        assert data.count(name) == 1
        data = data.replace(name, other)
    return data


def inkless_profile():
    """CMYK of which only black is printed: cyan, magenta and yellow stay white."""
    straight = bytes(range(256))
    colours = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * straight + colours + 3 * straight
    text = b"text" + bytes(4) + b"x\0"
    white = b"XYZ " + bytes(4) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return icc(b"CMYK", {b"desc": b"desc" + bytes(90), b"cprt": text, b"wtpt": white, b"A2B0": table})


def linear_grey_profile():
    """Grey whose values are proportional to light."""
    white = b"XYZ " + bytes(4) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    text = b"text" + bytes(4) + b"x\0"
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 0x100)
    return icc(b"GRAY", {b"desc": b"desc" + bytes(90), b"cprt": text, b"wtpt": white, b"kTRC": curve}, b"XYZ ")


def near(data, colour, tolerance=6):
    pixels = decode_image(data)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance, pixels[0, 0]


SWAPPED = swapped_profile()
