"""What Pillow does not check or refuses in PNG files: whether all pixels are there, and long texts."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MAX_TEXT_BYTES, MAX_TEXTS_BYTES = 1 << 20, 16 << 20
"""Largest text of one chunk, and of all chunks, that is handed to Pillow. Pillow refuses a file with a longer one."""
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


def without_long_texts(file: IO[bytes]) -> IO[bytes]:
    """Return a PNG file without texts that Pillow would refuse; the file itself, at its beginning, if it has none.

    Args:
        file: a PNG file that can be sought in.

    Raises:
        OSError: the file is truncated.
    """
    texts, total = [], 0
    for chunk in _chunks(file):
        if chunk.kind in _TEXTS:
            size = _text_bytes(file, chunk)
            if size > MAX_TEXT_BYTES or total + size > MAX_TEXTS_BYTES:
                texts.append(chunk)
            else:
                total += size
    result = _without(file, texts) if texts else file
    result.seek(0)
    return result


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
            checksum = zlib.crc32(chunk.kind)
            for piece in _pieces(file, chunk.begin + 8, chunk.length):
                checksum = zlib.crc32(piece, checksum)
                if chunk.kind == b"IHDR":
                    missing = _packed_bytes(piece)
                while chunk.kind == b"IDAT" and piece and missing > 0 and not inflate.eof:
                    missing -= len(inflate.decompress(piece, _PIECE_BYTES))
                    piece = inflate.unconsumed_tail
            if file.read(4) != checksum.to_bytes(4, "big"):
                name = chunk.kind.decode("ascii", "replace")
                raise OSError(f"the PNG file is damaged: wrong checksum of its chunk {name}")
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
    """Yield the chunks up to the end mark. Raises OSError if the file ends before it."""
    begin = _SIGNATURE_BYTES
    while True:
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


def _text_bytes(file: IO[bytes], chunk: _Chunk) -> int:
    """Return the bytes of a chunk's text once it is unpacked; at most one more than MAX_TEXT_BYTES is unpacked."""
    if chunk.length > MAX_TEXT_BYTES:
        return chunk.length
    body = b"".join(_pieces(file, chunk.begin + 8, chunk.length))
    _, _, rest = body.partition(b"\0")  # keyword
    if chunk.kind == b"zTXt":
        packed = rest[1:]  # compression method
    elif chunk.kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language, translated keyword
    else:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_TEXT_BYTES + 1))
    except zlib.error:
        return 0  # Pillow reads it as an empty text


def _without(file: IO[bytes], chunks: list[_Chunk]) -> IO[bytes]:
    """Return a copy of the file without these chunks, which are in file order."""
    copy, begin = io.BytesIO(), 0
    for chunk in chunks:
        copy.writelines(_pieces(file, begin, chunk.begin - begin))
        begin = chunk.end
    file.seek(begin)
    copy.write(file.read())
    return copy
