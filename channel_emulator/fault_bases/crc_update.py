"""Updates of a CRC32C for flipped bits, without reading the payload again.

A CRC is linear: flipping a bit changes it by an exclusive or with a word that depends on nothing but the number of
bytes after the bit, and its place in the byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.common.types import Ints

Words = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's polynomial, with its bits in the order of the checksum."""


def crc_deltas(bytes_after: Ints, bit: Ints) -> Words:
    """Return the words that flipped bits change the checksum by (exclusive or), uint32 [F].

    Args:
        bytes_after: int64 [F], number of bytes between the flipped one and the end of the packet, 0 or more.
        bit: int64 [F], the bit within its byte, 0 is the max_bytes_after significant.
    """
    max_bytes_after = int(bytes_after.max()) if len(bytes_after) else 0
    result: Words = _table(max(0, max_bytes_after).bit_length())[bytes_after, bit]
    return result


@lru_cache(maxsize=4)
def _table(doublings: int) -> Words:
    """Return uint32 [2**doublings, 8]: the change by each bit of a byte, by the number of bytes after it."""
    step = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        step = (step >> 1) ^ np.where(step & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    table: Words = step[128 >> np.arange(8)][None]
    # Appending n zero bytes maps a checksum word linearly: XOR the table entries of its four bytes.
    bytes_ = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]
    advance = (bytes_ >> 8) ^ step[bytes_ & 0xFF]
    for _ in range(doublings):
        table = np.concatenate([table, _advanced(table, advance)])
        advance = _advanced(advance, advance)
    return table


def _advanced(words: Words, advance: Words) -> Words:
    first, second, third, fourth = (advance[i][(words >> (8 * i)) & 0xFF] for i in range(4))
    advanced: Words = first ^ second ^ third ^ fourth
    return advanced
