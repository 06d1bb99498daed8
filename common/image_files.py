"""Reading of pictures from a file, a folder, or a webdataset-style tar, and conversions of them. Needs no torch.

In a tar the members of one sample share a key: `000123.webp`, `000123.txt`, `000123.cls`, `000123.seg.png`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gocom.common.errors import InvalidInput

ImageArray = npt.NDArray[np.float32]
"""An image [3, H, W], float32 in [0, 1], RGB."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".jp2", ".bmp", ".ppm")
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP", "PPM")
"""Formats that are read, as Pillow names them. Pillow reads others too, but opens EPS with an external program."""
MAX_PIXELS = 4096 * 4096
"""Largest decoded size, in pixels. A larger picture is refused before it is decoded: an image bomb is small on disk."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture with its annotations.

    Attributes:
        key: name of the file without its suffix, or the key of the sample in a tar.
        pixels: uint8 [H, W, 3], RGB.
        captions: lines of the `txt` member.
        label: class, from the `cls` member; None without one.
        extra: content of all other members of the tar, by suffix.
    """

    key: str
    pixels: npt.NDArray[np.uint8]
    captions: tuple[str, ...] = ()
    label: int | None = None
    extra: dict[str, bytes] = field(default_factory=dict)


def decode_image(data: bytes, *, field_name: str = "image", max_side_px: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode the first picture of a file: return uint8 [H, W, 3], RGB.

    Args:
        data: content of a file in one of FORMATS.
        field_name: name of the input, for error messages.
        max_side_px: longest side of a picture that is decoded, in pixels; None: only MAX_PIXELS is a limit.

    Raises:
        InvalidInput: the data is no such picture, or the picture is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if max_side_px is not None and max(width, height) > max_side_px:
                raise InvalidInput(f"{field_name}: {width}x{height} px; a side may have {max_side_px}")
            if width * height > MAX_PIXELS:
                raise InvalidInput(f"{field_name}: {width}x{height} px is more than {MAX_PIXELS} pixels")
            return _as_rgb(picture)
    except InvalidInput:
        raise
    except UnidentifiedImageError as error:
        raise InvalidInput(f"{field_name}: not a readable image; {', '.join(FORMATS)} are read") from error
    except Exception as error:  # Pillow's readers raise many types on damaged files
        raise InvalidInput(f"{field_name}: not a readable image ({type(error).__name__})") from error


def _as_rgb(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Convert to RGB: rotate as EXIF says, scale 16 bits to 8, and put transparent pictures on white."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        return np.repeat((np.asarray(upright, np.int64).clip(0, 65535) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def to_float(pixels: npt.NDArray[np.uint8]) -> ImageArray:
    """Convert uint8 [H, W, 3] to float32 [3, H, W] in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def to_uint8(image: ImageArray) -> npt.NDArray[np.uint8]:
    """Convert float32 [3, H, W] to uint8 [H, W, 3]: values are clipped to [0, 1] and rounded."""
    return np.ascontiguousarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, 3] as PNG, with fast compression."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def square_crop(pixels: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """Crop the central square and resize it to size_px x size_px with Lanczos, as for `kodak256`.

    Pixels are uint8: [H, W, 3] in, [size_px, size_px, 3] out.
    """
    picture = Image.fromarray(pixels)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    crop = picture.crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((size_px, size_px), Image.Resampling.LANCZOS), dtype=np.uint8)


def list_images(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and the image files in the given folders, sorted within each folder.

    Raises:
        InvalidInput: a path does not exist, or there is no image at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise InvalidInput(f"images: no file or folder {str(path)!r}")
    if not found:
        raise InvalidInput(f"images: nothing with a suffix of {', '.join(SUFFIXES)} in {[str(p) for p in paths]}")
    return found


def read_samples(source: Path) -> Iterator[Sample]:
    """Yield the samples of a folder of images (sorted), of one image, or of a webdataset tar (in file order).

    Raises:
        InvalidInput: there is no such file or folder, or a picture cannot be read.
    """
    if source.suffix == ".tar":
        yield from _read_tar(source)
        return
    for path in list_images([source]):
        yield Sample(path.stem, decode_image(path.read_bytes(), field_name=str(path)))


def _read_tar(source: Path) -> Iterator[Sample]:
    members: dict[str, bytes] = {}
    current: str | None = None
    with tarfile.open(source) as archive:
        for member in archive:
            if not member.isfile():
                continue
            key, _, suffix = Path(member.name).name.partition(".")
            if key != current:
                if current is not None:
                    yield _sample(current, members)
                current, members = key, {}
            handle = archive.extractfile(member)
            members[suffix] = handle.read() if handle else b""
    if current is not None:
        yield _sample(current, members)


def _sample(key: str, members: dict[str, bytes]) -> Sample:
    image = next((s for s in members if f".{s}" in SUFFIXES), None)
    if image is None:
        raise InvalidInput(f"images: sample {key!r} of the tar has no image member (has {sorted(members)})")
    text = members.get("txt", b"").decode().strip()
    label = int(members["cls"]) if "cls" in members else None
    extra = {s: data for s, data in members.items() if s not in (image, "txt", "cls")}
    captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    return Sample(key, decode_image(members[image], field_name=key), captions, label, extra)
