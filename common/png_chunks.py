"""What Pillow does not check or refuses in PNG files: whether all pixels are there, and long texts."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import IO

MAX_TEXT_BYTES, MAX_TEXTS_BYTES = 1 << 20, 16 << 20
"""Largest text of one chunk that is handed to Pillow, which refuses a file with a longer one; and of all texts together
that are unpacked, as a small file can hold hours of unpacking."""
MAX_PROFILE_BYTES = 16 << 20
"""Largest ICC profile that is read."""
MAX_CHUNKS, CHUNK_BYTES = 10_000, 1 << 10
"""Chunks that any file may have, and mean size that those of a file with more must have: each takes some time."""
_SIGNATURE_BYTES, _PIECE_BYTES = 8, 1 << 20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel, by colour type."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a PNG file.

    Attributes:
        kind: its name of four letters; a capital first letter: no picture without it.
        begin: position of the chunk in the file; its body begins 8 bytes later, and 4 bytes of checksum follow.
        length: bytes of the body.
    """

    kind: bytes
    begin: int
    length: int

    @property
    def end(self) -> int:
        return self.begin + self.length + 12


def without_long_texts(file: IO[bytes]) -> tuple[IO[bytes], bytes | None]:
    """Return a PNG file without what Pillow would refuse it for, and its ICC profile where that is left out.

    Left out are texts that are too long or damaged, all behind the first MAX_TEXTS_BYTES of them, a profile of more
    than MAX_TEXT_BYTES, and all profiles but the first.

    Args:
        file: a PNG file that can be sought in. It is returned itself, at its beginning, if all of it can stay.

    Raises:
        OSError: the file is truncated, or has too many chunks.
    """
    refused, total = [], 0
    profile, has_profile = None, False
    for chunk in _chunks(file):
        if chunk.kind == b"iCCP":
            data = b"" if has_profile else _unpacked(file, chunk, MAX_PROFILE_BYTES + 1) or b""
            if MAX_TEXT_BYTES < len(data) <= MAX_PROFILE_BYTES:
                profile = data
            if has_profile or profile is not None:
                refused.append(chunk)
            has_profile = True
        elif chunk.kind in _TEXTS:
            text = _unpacked(file, chunk, MAX_TEXT_BYTES + 1) if total < MAX_TEXTS_BYTES else None
            # A damaged text may have been unpacked for long before that was seen.
            total += MAX_TEXT_BYTES if text is None else len(text)
            if text is None or len(text) > MAX_TEXT_BYTES or not _checksum_is_right(file, chunk):
                refused.append(chunk)
    result = _without(file, refused) if refused else file
    result.seek(0)
    return result, profile


def check_pixels(file: IO[bytes]) -> None:
    """Check that a PNG file has all its pixels, and the checksums of all chunks that make up the picture.

    Pillow compares neither the checksums of the pixels' chunks nor the number of pixels: of a file with half of them it
    makes a picture whose lower half is black. What is behind the end mark is not read.

    Args:
        file: a PNG file that can be sought in. Its position stays what it is.

    Raises:
        OSError: pixels are missing, or a checksum is wrong.
    """
    position = file.tell()
    missing, inflate = 0, zlib.decompressobj()
    try:
        for chunk in _chunks(file):
            if chunk.kind[:1].islower():
                continue
            if not _checksum_is_right(file, chunk):
                name = chunk.kind.decode("ascii", "replace")
                raise OSError(f"the PNG file is damaged: wrong checksum of its chunk {name}")
            for piece in _pieces(file, chunk.begin + 8, chunk.length):
                if chunk.kind == b"IHDR":
                    missing = _packed_bytes(piece)
                while chunk.kind == b"IDAT" and piece and missing > 0 and not inflate.eof:
                    missing -= len(inflate.decompress(piece, _PIECE_BYTES))
                    piece = inflate.unconsumed_tail
    except zlib.error as error:
        raise OSError(f"the PNG file is damaged: {error}") from None
    finally:
        file.seek(position)
    if missing > 0:
        raise OSError("the PNG file is damaged: pixels are missing")


def _packed_bytes(head: bytes) -> int:
    """Return how many bytes the pixels of a PNG file have before compression, given its IHDR chunk."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[:13])
    bits = depth * _CHANNELS.get(colour, 1)
    if not interlaced:
        passes = [(0, 0, 1, 1)]
    else:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for left, top, across, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _chunks(file: IO[bytes]) -> Iterator[_Chunk]:
    """Yield the chunks up to the end mark. Raises OSError if the file ends before it, or if there are too many."""
    begin = _SIGNATURE_BYTES
    for number in count():
        if number > MAX_CHUNKS + begin // CHUNK_BYTES:
            raise OSError(f"the PNG file has more than {MAX_CHUNKS} chunks, of less than {CHUNK_BYTES} bytes each")
        file.seek(begin)
        head = file.read(8)
        if len(head) < 8:
            raise OSError("the PNG file is truncated")
        chunk = _Chunk(head[4:], begin, int.from_bytes(head[:4], "big"))
        yield chunk
        if chunk.kind == b"IEND":
            return
        begin = chunk.end


def _pieces(file: IO[bytes], begin: int, length: int) -> Iterator[bytes]:
    """Yield `length` bytes of the file from `begin` on. Raises OSError if it has fewer."""
    file.seek(begin)
    while length:
        piece = file.read(min(length, _PIECE_BYTES))
        if not piece:
            raise OSError("the PNG file is truncated")
        yield piece
        length -= len(piece)


def _checksum_is_right(file: IO[bytes], chunk: _Chunk) -> bool:
    """Return whether a chunk's checksum is that of its content. Raises OSError if the file ends before it."""
    checksum = zlib.crc32(chunk.kind)
    for piece in _pieces(file, chunk.begin + 8, chunk.length):
        checksum = zlib.crc32(piece, checksum)
    return file.read(4) == checksum.to_bytes(4, "big")


def _unpacked(file: IO[bytes], chunk: _Chunk, most: int) -> bytes | None:
    """Return a chunk's text or profile, unpacked, but at most so many bytes of it; None if it cannot be unpacked."""
    body = b"".join(_pieces(file, chunk.begin + 8, min(chunk.length, most)))
    _, _, rest = body.partition(b"\0")  # keyword
    if chunk.kind in (b"zTXt", b"iCCP"):
        packed = rest[1:]  # compression method
    elif chunk.kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
    else:
        return body
    try:
        return zlib.decompressobj().decompress(packed, most)
    except zlib.error:
        return None


def _without(file: IO[bytes], chunks: list[_Chunk]) -> IO[bytes]:
    """Return a copy of the file without these chunks, which are in file order."""
    copy, begin = io.BytesIO(), 0
    for chunk in chunks:
        copy.writelines(_pieces(file, begin, chunk.begin - begin))
        begin = chunk.end
    file.seek(begin)
    copy.write(file.read())
    return copy
