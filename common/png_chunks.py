"""What Pillow leaves out or refuses in PNG files: the checksums of pixels, and long texts."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MAX_TEXT_BYTES, MAX_TEXTS_BYTES = 1 << 20, 16 << 20
"""Largest text of one chunk, and of all chunks, that is handed to Pillow. Pillow refuses a file with a longer one."""
_SIGNATURE_BYTES, _PIECE_BYTES = 8, 1 << 20
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


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


def checked_png(file: IO[bytes]) -> IO[bytes]:
    """Check the checksums of a PNG file's pixels, and return the file without texts that Pillow would refuse.

    Nothing after the end mark is read. Pillow itself compares the checksums of all chunks before the pixels, but not
    those of the pixels: it would accept a picture of which half is destroyed.

    Args:
        file: a PNG file that can be sought in. Its position is changed.

    Raises:
        OSError: the file is truncated, or a checksum is wrong.
    """
    texts, total = [], 0
    for chunk in _chunks(file):
        if chunk.kind in _TEXTS:
            size = _text_bytes(file, chunk)
            if size > MAX_TEXT_BYTES or total + size > MAX_TEXTS_BYTES:
                texts.append(chunk)
            else:
                total += size
        elif chunk.kind[:1].isupper():
            _check(file, chunk)
    return _without(file, texts) if texts else file


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


def _check(file: IO[bytes], chunk: _Chunk) -> None:
    """Compare the checksum of a chunk. Raises OSError."""
    checksum = zlib.crc32(chunk.kind)
    for piece in _pieces(file, chunk.begin + 8, chunk.length):
        checksum = zlib.crc32(piece, checksum)
    if file.read(4) != checksum.to_bytes(4, "big"):
        raise OSError(f"the PNG file is damaged: wrong checksum of its chunk {chunk.kind.decode('ascii', 'replace')}")


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
