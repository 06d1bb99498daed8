"""Picture files as strangers have them: of other colour spaces, depths and kinds."""

import numpy as np
import pytest
from picture_makers import (
    GREEN,
    PHOTO,
    RED,
    SWAPPED,
    chunk,
    flat,
    inkless_profile,
    linear_grey_profile,
    near,
    png,
    saved,
    tiff,
)
from PIL import Image, ImageCms

from gocom.client.picture_input import load_picture
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import png_bytes


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
