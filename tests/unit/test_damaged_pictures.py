"""Picture files that are damaged, cut off, or have much beside the picture: refused by name, or read all the same."""

import io
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from picture_makers import GREEN, PHOTO, RED, RNG, SWAPPED, chunk, near, png, saved
from PIL import Image

from gocom.common import png_chunks
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_image


def test_a_png_damaged_in_its_middle_is_refused_by_name():
    data = bytearray(png())
    data[len(data) // 2] ^= 0x10
    with pytest.raises(InvalidInput, match=r"^a\.png: not a readable image: the PNG file is damaged: "):
        decode_image(bytes(data), field_name="a.png")


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused(kind):
    data = bytearray(png())
    begin = data.index(kind)
    data[begin + 4 + int.from_bytes(data[begin - 4 : begin], "big")] ^= 1
    with pytest.raises(InvalidInput, match=f"checksum .*{kind.decode()}"):
        decode_image(bytes(data))


def test_a_png_with_half_of_its_pixels_is_refused():
    rows = np.zeros((60, 1 + 160 * 3), np.uint8).tobytes()  # of 120
    with pytest.raises(InvalidInput, match="pixels are missing"):
        decode_image(png(packed=zlib.compress(rows)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 5), (64, 65)])
def test_the_pixels_of_every_kind_of_png_are_counted_right(mode, size):
    picture = Image.new(mode, size)
    data = saved(picture, bits=2) if mode == "P" else saved(picture)
    assert decode_image(data).shape == (size[1], size[0], 3)
    begin = data.index(b"IDAT")
    length = int.from_bytes(data[begin - 4 : begin], "big")
    fewer = zlib.compress(zlib.decompress(data[begin + 4 : begin + 4 + length])[:-1])
    with pytest.raises(InvalidInput, match="pixels are missing"):
        decode_image(data[: begin - 4] + chunk(b"IDAT", fewer) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (4, 1), (5, 5), (9, 17), (64, 33)])
def test_the_pixels_of_an_interlaced_png_are_counted_right(width, height):
    step = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    pixels = np.arange(width * height).astype(np.uint8).reshape(height, width)
    parts = [pixels[top::down, left::across] for left, top, across, down in step]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    whole, fewer = (b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(r)) for r in (rows, rows[:-1]))
    end = chunk(b"IEND", b"")
    assert (decode_image(whole + end) == pixels[..., None]).all()
    with pytest.raises(InvalidInput, match="pixels are missing"):
        decode_image(fewer + end)


def test_a_png_whose_pixels_cannot_be_unpacked_is_refused():
    packed = zlib.compress(RNG.bytes(120 * 481))
    half = len(packed) // 2
    for damaged in (packed[:half] + bytes(99) + packed[half + 99 :], packed[:half], packed[:-4] + b"abcd"):
        with pytest.raises(InvalidInput, match="not a readable image"):
            decode_image(png(packed=damaged))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP", "PPM"])
def test_a_file_that_is_cut_off_is_refused(kind, share):
    data = saved(Image.fromarray(PHOTO), kind)
    assert decode_image(data).shape == PHOTO.shape
    with pytest.raises(InvalidInput, match=r"^x: not a readable image"):
        decode_image(data[: int(share * len(data))], field_name="x")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("count", [1, 70])
def test_long_texts_in_a_png_do_not_matter(kind, count):
    text = bytes(3 << 20 if count == 1 else 1 << 19)
    packed = zlib.compress(text)
    body = {b"zTXt": b"k\0\0" + packed, b"iTXt": b"k\0\1\0\0\0" + packed, b"tEXt": b"k\0" + text}[kind]
    assert (decode_image(png(*count * [chunk(kind, body)])) == PHOTO).all()


BOMB = zlib.compress(bytes(1 << 20), 9)
SPOILT_BOMB = BOMB[:-8] + b"spoilt!!"


@pytest.mark.parametrize(
    ("part", "count", "most"),
    [
        (chunk(b"zTXt", b"k\0\0" + BOMB), 2000, 18 << 20),
        (chunk(b"zTXt", b"k\0\0" + SPOILT_BOMB), 2000, 18 << 20),
        (chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(16 << 20), 9)), 50, 18 << 20),
    ],
    ids=["texts", "spoilt texts", "profiles"],
)
def test_little_is_unpacked_of_a_png_however_much_is_packed_in_it(monkeypatch, part, count, most):
    unpacked = []

    class Counting:
        def decompress(self, packed, length):
            unpacked.append(length)
            return zlib.decompressobj().decompress(packed, length)

    names = {name: getattr(zlib, name) for name in ("crc32", "error")}
    monkeypatch.setattr(png_chunks, "zlib", SimpleNamespace(decompressobj=Counting, **names))
    kept, _ = png_chunks.without_long_texts(io.BytesIO(png(*count * [part])))
    assert sum(unpacked) <= most
    assert len(kept.read()) < len(part) * 20 + PHOTO.size
    monkeypatch.undo()
    kept.seek(0)
    assert (decode_image(kept.read()) == PHOTO).all()


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT", b"abCd"])
def test_a_png_of_very_many_tiny_chunks_is_refused(kind):
    assert (decode_image(png(*9000 * [chunk(kind, b"")])) == PHOTO).all()
    with pytest.raises(InvalidInput, match="the PNG file has more than 10000 chunks"):
        decode_image(png(*11_000 * [chunk(kind, b"")]))
    assert (decode_image(png(*11_000 * [chunk(b"abCd", bytes(1024))])) == PHOTO).all()


def test_a_text_that_turns_the_picture_is_still_read():
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta tiff:Orientation='6' tiff:Orientation=\"6\"/>"
    long = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 << 20)))
    assert decode_image(png(long, chunk(b"iTXt", xmp))).shape == (160, 120, 3)


def test_a_text_with_a_wrong_checksum_does_not_matter():
    assert (decode_image(png(chunk(b"tEXt", b"k\0text")[:-1] + b"?")) == PHOTO).all()


def test_a_long_profile_in_a_png_is_obeyed():
    long = SWAPPED + RNG.bytes(2 << 20)
    long = len(long).to_bytes(4, "big") + long[4:]
    data = png(chunk(b"iCCP", b"k\0\0" + zlib.compress(long)), pixels=np.full((64, 64, 3), RED, np.uint8))
    near(data, GREEN)
