"""Reading of pictures from a file, a folder, or a webdataset-style tar, and conversions of them. Needs no torch.

In a tar the members of one sample share a key: `000123.webp`, `000123.txt`, `000123.cls`, `000123.seg.png`.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_file, decode_image, describe_error
from gocom.common.printable_text import printable

ImageArray = npt.NDArray[np.float32]
"""An image [3, H, W], float32 in [0, 1], RGB."""

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf",
    ".gif", ".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
"""Suffixes of the files of a folder or tar that are taken for pictures."""
SIDECAR_SUFFIXES = (
    ".txt", ".json", ".csv", ".tsv", ".xml", ".xmp", ".aae", ".yml", ".yaml", ".toml", ".md", ".html", ".log", ".ini",
    ".db", ".npy", ".npz", ".cls",
)  # fmt: skip
"""Suffixes of files that accompany pictures: a folder's are left out without mention."""
MAX_FILE_BYTES = 512 << 20
"""Largest file of one picture that is read, and largest member of a tar. A tar itself may have any size."""
_TAR_ERRORS = (tarfile.TarError, OSError, ValueError, OverflowError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a tar raises where it is damaged or cut off; the last three where it is compressed."""


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
    """Return the given files, and the picture files in the given folders, sorted within each folder.

    A path that cannot be read, even a missing one, is returned too: whoever reads it learns what is wrong with it. Of a
    folder, files of other suffixes, folders, and hidden files (macOS keeps notes on a.jpg in ._a.jpg) are left out.

    Raises:
        InvalidInput: none of the paths exists, a folder cannot be read, or there is no picture in the folders.
    """
    if not any(os.path.lexists(path) for path in paths):
        raise InvalidInput(f"images: no file or folder {', '.join(repr(str(path)) for path in paths)}")
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            found += [p for p in _entries(path) if p.suffix.lower() in SUFFIXES and not os.path.isdir(p)]
        else:
            found.append(path)
    if not found:
        raise InvalidInput(f"images: nothing with a suffix of {', '.join(SUFFIXES)} in {[str(p) for p in paths]}")
    return found


def list_skipped(paths: Sequence[Path]) -> list[Path]:
    """Return what list_images leaves out of the given folders, except hidden files and those of SIDECAR_SUFFIXES."""
    known = (*SUFFIXES, *SIDECAR_SUFFIXES)
    entries = [entry for path in paths if os.path.isdir(path) for entry in _entries(path)]
    return [entry for entry in entries if entry.suffix.lower() not in known or os.path.isdir(entry)]


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden, sorted. Raises InvalidInput."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InvalidInput(f"images: folder {str(folder)!r}: {error.strerror or error}") from None


def open_image_file(path: Path, field_name: str) -> IO[bytes]:
    """Open a file to read a picture from. Raises InvalidInput, which says why it cannot be read."""
    file = open_regular_file(path, field_name)
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        file.close()
        raise InvalidInput(f"{field_name}: {size} bytes; a file may have {MAX_FILE_BYTES}")
    return file


def open_regular_file(path: Path, field_name: str) -> io.BufferedReader:
    """Open a file of any size to read from it. Raises InvalidInput, which says why it cannot be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InvalidInput(f"{field_name}: a folder, not a file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for somebody to write to it
            raise InvalidInput(f"{field_name}: not a regular file; pipes and devices are not read")
        return path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{field_name}: {error.strerror or error}") from None
    except ValueError as error:  # such as a zero byte in the name
        raise InvalidInput(f"{field_name}: {error}") from None


@cache
def report_on_stderr(reason: str) -> None:
    """Print in one line, the first time only, why a picture is left out."""
    print(f"left out: {printable(reason)}", file=sys.stderr)


def read_samples(source: Path, on_unreadable: Callable[[str], None] = report_on_stderr) -> Iterator[Sample]:
    """Yield the samples of a folder of images (sorted), of one image, or of a webdataset tar (in file order).

    A picture that cannot be read is left out.

    Args:
        source: the folder, image or tar.
        on_unreadable: called for each picture that is left out, with its name and the reason.

    Raises:
        InvalidInput: there is no such file or folder, the folder has no picture, or the tar cannot be opened.
    """
    if source.suffix == ".tar":
        yield from _read_tar(source, on_unreadable)
        return
    for path in list_images([source]):
        try:
            with open_image_file(path, str(path)) as file:
                pixels = decode_file(file, field_name=str(path)).pixels
        except InvalidInput as error:
            on_unreadable(str(error))
            continue
        yield Sample(path.stem, pixels)


def _read_tar(source: Path, on_unreadable: Callable[[str], None]) -> Iterator[Sample]:
    for name, members in _tar_members(source, on_unreadable):
        try:
            sample = _sample(source, name, members)
        except InvalidInput as error:
            on_unreadable(str(error))
            continue
        yield sample


def _tar_members(source: Path, on_unreadable: Callable[[str], None]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the key of each sample of a tar, and the content of its members by suffix.

    A sample's members follow each other in one folder of the tar. Hidden members are left out, and samples that have a
    member of more than MAX_FILE_BYTES.
    """
    key = ""
    with open_regular_file(source, str(source)) as file, _open_tar(file, source) as archive:
        try:
            visible = (m for m in archive if m.isfile() and not Path(m.name).name.startswith("."))
            for (_, key), group in groupby(visible, _sample_of):
                members: dict[str, bytes] = {}
                too_large = ""
                for member in group:
                    if member.size > MAX_FILE_BYTES:
                        too_large = f"{member.name!r} has {member.size} bytes; a member may have {MAX_FILE_BYTES}"
                    elif not too_large:
                        handle = archive.extractfile(member)
                        members[Path(member.name).name.partition(".")[2]] = handle.read() if handle else b""
                if too_large:
                    on_unreadable(f"{source}: {too_large}")
                else:
                    yield key, members
        except _TAR_ERRORS as error:
            on_unreadable(f"{source}: everything from sample {key!r} on: {describe_error(error)}")


def _sample_of(member: tarfile.TarInfo) -> tuple[Path, str]:
    """Return folder and key of the sample that a member of a tar belongs to."""
    path = Path(member.name)
    return path.parent, path.name.partition(".")[0]


def _open_tar(file: IO[bytes], source: Path) -> tarfile.TarFile:
    """Open a tar. Raises InvalidInput."""
    try:
        return tarfile.open(fileobj=file)
    except tarfile.ReadError:  # whose words list what each way of decompression makes of the file
        what = "not a readable tar" if source.stat().st_size else "the file is empty"
        raise InvalidInput(f"{source}: {what}") from None
    except _TAR_ERRORS as error:
        raise InvalidInput(f"{source}: not a readable tar: {describe_error(error)}") from None


def _sample(source: Path, key: str, members: dict[str, bytes]) -> Sample:
    """Make a sample of the members of a tar that share a key. Raises InvalidInput."""
    name = f"{source}: {key}"
    image = next((s for s in members if f".{s.lower()}" in SUFFIXES), None)
    if image is None:
        raise InvalidInput(f"{name}: has no image member, only {sorted(members)}")
    try:
        text = members.get("txt", b"").decode().strip()
        label = int(members["cls"]) if "cls" in members else None
    except ValueError as error:  # UnicodeDecodeError is one
        raise InvalidInput(f"{name}: {error}") from None
    extra = {s: data for s, data in members.items() if s not in (image, "txt", "cls")}
    captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    return Sample(key, decode_image(members[image], field_name=f"{name}.{image}"), captions, label, extra)
