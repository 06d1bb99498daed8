"""Picture files as strangers have them: of other colour spaces and depths, damaged, with much beside the picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from gocom.client.picture_input import load_picture
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


def icc(space, tags):
    """An ICC profile. tags: bytes by name."""
    begin, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    head = struct.pack(">I4sI4s4s4s", begin + len(body), b"lcms", 0x02100000, b"prtr", space, b"Lab ")
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


@pytest.mark.parametrize(("bits", "kind", "dtype"), [(32, 1, "<u4"), (32, 2, "<i4"), (16, 2, "<i2")])
def test_integers_of_no_defined_range_are_refused_by_name(bits, kind, dtype):
    values = np.full((64, 64), 1000, dtype).tobytes()
    with pytest.raises(InvalidInput, match=r"^a\.tif: .*values without a stated range"):
        decode_image(tiff(values, bits, kind), field_name="a.tif")


@pytest.mark.parametrize(
    ("dtype", "kind", "low", "high"),
    [("<f4", 3, 0.0, 1.0), ("<f4", 3, -40.0, 60.0), ("<i4", 2, -1000.0, 1000.0), ("<u4", 1, 0.0, 4e9)],
)
def test_a_stated_range_becomes_black_to_white(dtype, kind, low, high):
    values = np.linspace(low, high, 256).repeat(16).reshape(64, 64).astype(dtype)
    if kind == 3:
        values[0, 0] = np.nan
    data = tiff(values.tobytes(), 32, kind, tags=[(340, 12, "d", low), (341, 12, "d", high)])
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
    with pytest.raises(InvalidInput, match=r"^a\.png: not a readable image: .*checksum.*IDAT"):
        decode_image(bytes(data), field_name="a.png")


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


def test_a_text_that_turns_the_picture_is_still_read():
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta tiff:Orientation='6' tiff:Orientation=\"6\"/>"
    long = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 << 20)))
    assert decode_image(png(long, chunk(b"iTXt", xmp))).shape == (160, 120, 3)


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
