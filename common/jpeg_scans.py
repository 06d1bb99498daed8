"""The scans of a JPEG file: the passes over the picture, each with some of its coefficients."""

from __future__ import annotations

import re
from typing import IO

MAX_SCANS = 500
"""Largest number of scans. An empty one takes 12 bytes of the file, but a pass over all coefficients to be decoded."""
MAX_SEGMENTS, MAX_GAP_BYTES = 10_000, 1 << 16
"""Largest number of segments, and of bytes that belong to none before the first scan. Pillow takes long over both."""
_PIECE_BYTES = 1 << 14
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""Begin of a segment. Zero behind 0xff is a pixel's byte, and 0xd0 to 0xd7 are restart marks within a scan."""
_IMAGE_END, _SCAN = 0xD9, 0xDA


def scan_components(file: IO[bytes]) -> list[int]:
    """Return how many colour components each scan of the first picture in a JPEG file has.

    A decoder holds all coefficients at once where the first scan has not all components, or is not the only one.

    Args:
        file: a JPEG file that can be sought in. Its position is changed.

    Raises:
        OSError: there are too many scans or segments, or too much between the segments.
    """
    scans: list[int] = []
    begin, segments, gap = 2, 0, 0
    while True:
        file.seek(begin)
        piece = file.read(_PIECE_BYTES)
        found = _MARKER.search(piece)
        if not scans:
            gap += found.start() if found else len(piece)
            if gap > MAX_GAP_BYTES:
                raise OSError("the JPEG file is damaged: it has other data between its segments")
        if found is None:
            if len(piece) < 2:
                return scans
            begin += len(piece) - 1  # a marker may lie across the end of the piece
            continue
        if piece[found.end() - 1] == _IMAGE_END:
            return scans
        begin += found.end()
        file.seek(begin)
        head = file.read(3)
        if piece[found.end() - 1] == _SCAN and len(head) == 3:
            scans.append(head[2])
        segments += 1
        if len(scans) > MAX_SCANS or segments > MAX_SEGMENTS:
            raise OSError(f"the JPEG file has more than {MAX_SCANS} scans or {MAX_SEGMENTS} segments")
        begin += max(2, int.from_bytes(head[:2], "big"))
