"""Picture files as strangers have them: of other colour spaces and depths, damaged, with much beside the picture."""

import io
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms

from gocom.client.picture_input import load_picture
from gocom.common import png_chunks
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import png_bytes

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


@pytest.mark.parametrize(
    "data",
    [
        flat("RGB", RED, icc_profile=SWAPPED),
        flat("RGB", RED, "JPEG", quality=95, icc_profile=SWAPPED),
        flat("RGB", RED, "WEBP", lossless=True, icc_profile=SWAPPED),
        flat("RGB", RED, "TIFF", icc_profile=SWAPPED),
        flat("RGBA", (*RED, 255), icc_profile=SWAPPED),
        saved(Image.new("RGB", (64, 64), RED).quantize(4), icc_profile=SWAPPED),
    ],
    ids=["png", "jpeg", "webp", "tiff", "rgba", "palette"],
)
def test_colours_are_converted_as_the_profile_says(data):
    near(data, GREEN)


def test_transparency_is_laid_on_white_after_colours_are_converted():
    near(flat("RGBA", (*RED, 0), icc_profile=SWAPPED), (255, 255, 255), 0)
    near(flat("RGBA", (*RED, 128), icc_profile=SWAPPED), (142, 227, 142))


def test_cmyk_files_obey_their_profile_too():
    near(flat("CMYK", (255, 0, 0, 0), "JPEG", quality=95), (0, 255, 255))
    near(flat("CMYK", (255, 0, 0, 0), "JPEG", quality=95, icc_profile=inkless_profile()), (255, 255, 255))
    near(flat("CMYK", (0, 0, 0, 255), "JPEG", quality=95, icc_profile=inkless_profile()), (0, 0, 0))


@pytest.mark.parametrize(("mode", "value"), [("L", 55), ("LA", (55, 255))])
def test_grey_files_obey_their_profile_too(mode, value):
    near(flat(mode, value), (55, 55, 55))
    near(flat(mode, value, icc_profile=linear_grey_profile()), (128, 128, 128))


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"no profile",
        SWAPPED[:200],
        inkless_profile(),
    ],
    ids=["sRGB", "text", "cut off", "of another colour space"],
)
def test_srgb_profiles_and_useless_ones_change_nothing(profile):
    assert (decode_image(saved(Image.fromarray(PHOTO), icc_profile=profile)) == PHOTO).all()


def test_what_is_sent_and_measured_is_the_converted_picture():
    picture = load_picture(flat("RGB", RED, icc_profile=SWAPPED))
    assert np.abs(picture.pixels.astype(int) - GREEN).max() <= 6
    assert (decode_image(picture.data) == picture.pixels).all()


def test_floats_without_a_stated_range_are_refused_by_name():
    data = saved(Image.fromarray(np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)), "TIFF")
    with pytest.raises(InvalidInput, match=r"^a\.tif: .*float values without a stated range.*SMinSampleValue"):
        decode_image(data, field_name="a.tif")


@pytest.mark.parametrize(("bits", "kind", "dtype"), [(32, 1, "<u4"), (32, 2, "<i4"), (16, 2, "<i2"), (8, 2, "i1")])
def test_integers_of_no_defined_range_are_refused_by_name(bits, kind, dtype):
    values = np.full((64, 64), 100, dtype).tobytes()
    with pytest.raises(InvalidInput, match=r"^a\.tif: .*values without a stated range"):
        decode_image(tiff(values, bits, kind), field_name="a.tif")


@pytest.mark.parametrize(
    ("dtype", "kind", "low", "high"),
    [
        ("<f4", 3, 0.0, 1.0), ("<f4", 3, -40.0, 60.0), ("<i4", 2, -1000.0, 1000.0), ("<u4", 1, 0.0, 4e9),
        ("i1", 2, -128.0, 127.0),
    ],
)  # fmt: skip
def test_a_stated_range_becomes_black_to_white(dtype, kind, low, high):
    values = np.linspace(low, high, 256).repeat(16).reshape(64, 64).astype(dtype)
    if kind == 3:
        values[0, 0] = np.nan
    data = tiff(values.tobytes(), 8 * values.itemsize, kind, tags=[(340, 12, "d", low), (341, 12, "d", high)])
    wanted = np.arange(256).repeat(16).reshape(64, 64, 1)
    assert np.abs(decode_image(data).astype(int) - wanted).max() <= 1


def test_twelve_bits_and_white_is_zero_keep_their_brightness():
    packed = np.tile(np.frombuffer(b"\x80\x08\x00", np.uint8), 64 * 32).tobytes()  # 0x800 twice
    assert (decode_image(tiff(packed, 12, 1)) == 0x80).all()
    assert (decode_image(tiff(np.full(4096, 0x2000, "<u2").tobytes(), 16, 1, photometric=0)) == 255 - 0x20).all()


def test_lab_becomes_srgb():
    near(saved(ImageCms.profileToProfile(
        Image.new("RGB", (64, 64), RED), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    ), "TIFF"), RED)  # fmt: skip


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "YCbCr"])
def test_other_modes_are_read(mode):
    grey = Image.fromarray(PHOTO[:64, :64]).convert("L")
    picture = Image.fromarray(np.asarray(grey, np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    data = saved(picture, "TIFF" if mode == "YCbCr" else "PNG")
    assert np.abs(decode_image(data).astype(int) - np.asarray(picture.convert("L").convert("RGB"))).max() <= 2 or (
        mode == "I;16" and (decode_image(data)[..., 0] == np.asarray(grey)).all()
    )


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


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_does_not_matter():
    data = saved(Image.fromarray(PHOTO), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff junk")
    assert decode_image(data).shape == PHOTO.shape


def test_pillows_own_words_say_why_a_file_cannot_be_read():
    data = bytearray(saved(Image.fromarray(PHOTO), "BMP"))
    data[14] = 7  # length of the header
    with pytest.raises(InvalidInput, match="Unsupported BMP header"):
        decode_image(bytes(data))


@pytest.mark.parametrize("data", [b"", b"\0", b"%PDF-1.4", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a"])
def test_what_is_no_picture_is_refused_in_one_line(data):
    with pytest.raises(InvalidInput, match="not a readable image") as raised:
        decode_image(data)
    assert "\n" not in str(raised.value) and " at 0x" not in str(raised.value)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_many_pictures_the_first_is_read(kind):
    pictures = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREEN)]
    near(saved(pictures[0], kind, save_all=True, append_images=pictures[1:]), RED, 8)


def test_what_is_behind_a_picture_is_not_sent():
    file = saved(Image.fromarray(PHOTO), "JPEG") + bytes(20 << 20)
    picture = load_picture(file)
    assert len(picture.data) < PHOTO.nbytes
    assert (decode_image(picture.data) == decode_image(file)).all()
    text = png(chunk(b"tEXt", b"k\0" + bytes(900_000)))
    assert len(load_picture(text).data) < PHOTO.nbytes
    plain = png_bytes(PHOTO)
    assert load_picture(plain).data is plain


@pytest.mark.parametrize("size", [None, "fit"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (63, 200)])
def test_pictures_of_no_sendable_shape_are_refused_by_size(shape, size):
    data = png_bytes(np.zeros((*shape, 3), np.uint8))
    with pytest.raises(InvalidInput, match=rf"{shape[1]}x{shape[0]} px cannot be sent; sides must be 64 to 1024"):
        load_picture(data, size)


@pytest.mark.parametrize("size", ["small", 256.0, "256", 63, 1025, -1])
def test_a_size_that_cannot_be_is_named(size):
    with pytest.raises(InvalidInput, match="^size: .*64 to 1024"):
        load_picture(png_bytes(PHOTO), size)
