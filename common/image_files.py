"""Reading pictures: one file, a folder, or a webdataset-style tar. No torch here.

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
"""Those that are read. Pillow knows others, of which EPS is handed to another program."""
MAX_PIXELS = 4096 * 4096
"""Decoded size at which a picture is refused before its pixels are unpacked (an image bomb is small on disk)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture: its key, uint8 pixels [H, W, 3], and whatever text members came with it."""

    key: str
    pixels: npt.NDArray[np.uint8]
    captions: tuple[str, ...] = ()
    label: int | None = None
    extra: dict[str, bytes] = field(default_factory=dict)


def decode_image(data: bytes, *, field_name: str = "image", max_side_px: int | None = None) -> npt.NDArray[np.uint8]:
    """Bytes of one of FORMATS -> uint8 [H, W, 3] RGB, of the first picture where there are several.

    Args:
        max_side_px: of a picture that is larger the pixels are not even unpacked; None: MAX_PIXELS alone counts.

    Raises:
        InvalidInput: naming `field_name`, when they are no such picture.
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
    """Upright as its EXIF says, 16 bits scaled to 8, what is transparent laid on white."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        return np.repeat((np.asarray(upright, np.int64).clip(0, 65535) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def to_float(pixels: npt.NDArray[np.uint8]) -> ImageArray:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def to_uint8(image: ImageArray) -> npt.NDArray[np.uint8]:
    """float32 [3, H, W] in [0, 1] -> uint8 [H, W, 3], rounded."""
    return np.ascontiguousarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def png_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3] -> lossless PNG bytes (fast compression)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def square_crop(pixels: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.uint8]:
    """Centre square crop, then Lanczos to size_px x size_px: the `kodak256` rule, one function for everybody."""
    picture = Image.fromarray(pixels)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    crop = picture.crop((left, top, left + side, top + side))
    return np.asarray(crop.resize((size_px, size_px), Image.Resampling.LANCZOS), dtype=np.uint8)


def list_images(paths: Sequence[Path]) -> list[Path]:
    """Files and folders -> image files, sorted within a folder. Raises InvalidInput for what does not exist."""
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
    """A folder of images, one image, or a webdataset tar -> samples in file order."""
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
