"""Compact code of a set of element positions, as in feedback and in the header of a later round.

    ascending spans (start, length) -> (gap to span before, length - 1) -> Rice codes (Rice and Plaunt 1971) -> bytes

    byte 0        Rice parameters: of the gaps (high four bits), of the lengths (low four bits)
    then          number of spans, as a protobuf varint
    then          for each span: gap, length - 1. A value v with parameter k is v >> k ones, a zero, and the k low bits.
                  Zero bits fill the last byte.

The Rice parameters are the ones that give the shortest code. Scattered positions cost about 5 bits each if one element
in ten is in the set. A few runs of lost raster lines cost a few bytes in all.
"""

from __future__ import annotations

import numpy as np

from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.types import Ints

MAX_PARAMETER = 15
MAX_BYTES = 1 << 16
"""Largest code of a set, in bytes. It bounds what a peer can make this end decode at once."""


def pack_spans(spans: Ints) -> bytes:
    """Return the code of a set of positions.

    Args:
        spans: int64 [S, 2] of (start, length), ascending, with a gap between any two. No spans give b"".

    Raises:
        TooLarge: the code would be longer than MAX_BYTES.
    """
    if not len(spans):
        return b""
    starts, lengths = spans[:, 0], spans[:, 1]
    gaps = starts - np.concatenate(([0], starts[:-1] + lengths[:-1]))
    columns = (gaps, lengths - 1)
    parameters = [min(range(MAX_PARAMETER + 1), key=lambda k: int((v >> k).sum()) + len(v) * k) for v in columns]
    bits = [_rice(int(v), k) for row in zip(*columns, strict=True) for v, k in zip(row, parameters, strict=True)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    head = bytes([parameters[0] << 4 | parameters[1]]) + _varint(len(spans))
    data = head + int(text, 2).to_bytes(len(text) // 8, "big")
    if len(data) > MAX_BYTES:
        raise TooLarge(f"elements: a set of {len(data)} bytes is more than {MAX_BYTES}; ask for fewer")
    return data


def unpack_spans(data: bytes, limit: int) -> Ints:
    """Return the spans of a code, int64 [S, 2] of (start, length).

    Args:
        data: bytes from `pack_spans`.
        limit: number of elements; every position must be below it.

    Raises:
        InvalidInput: the bytes are not the code of a set, or a position is not below `limit`.
    """
    if not data:
        return np.zeros((0, 2), np.int64)
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"elements: a set of {len(data)} bytes is more than {MAX_BYTES}")
    parameters = (data[0] >> 4, data[0] & 15)
    count, at = _read_varint(data, 1)
    if not 0 < count <= len(data) * 8:
        raise InvalidInput(f"elements: {count} spans in {len(data)} bytes")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=at)).tolist()
    spans, position, end = np.empty((count, 2), np.int64), 0, 0
    for i in range(count):
        gap, position = _read_rice(bits, position, parameters[0], limit)
        length, position = _read_rice(bits, position, parameters[1], limit)
        spans[i] = end + gap, length + 1
        end += gap + length + 1
        if end > limit or (i and not gap):
            raise InvalidInput(f"elements: span {i} ends at {end}, the segment has {limit} elements (or spans touch)")
    return spans


def _rice(value: int, k: int) -> str:
    low = format(value & ((1 << k) - 1), f"0{k}b") if k else ""
    return "1" * (value >> k) + "0" + low


def _read_rice(bits: list[int], position: int, k: int, limit: int) -> tuple[int, int]:
    high = 0
    while position < len(bits) and bits[position] and high << k <= limit:
        high, position = high + 1, position + 1
    stop = position + 1 + k
    if stop > len(bits) or bits[position]:
        raise InvalidInput("elements: end inside a value")
    low = 0
    for bit in bits[position + 1 : stop]:
        low = low << 1 | bit
    return high << k | low, stop


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise InvalidInput("elements: no number of spans")
