"""What flipped bits do to a CRC32C, without going through the payload again.

A CRC is linear: a flipped bit changes it by a share that depends on how many bytes come after, and on nothing else.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.common.types import Ints

Words = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, its bits in the order of the checksum."""


def shares(bytes_after: Ints, bit: Ints) -> Words:
    """uint32 [F]: by what a flipped bit changes the checksum.

    Args:
        bytes_after: int64 [F], bytes between the flipped one and the end of the packet, 0 or more.
        bit: int64 [F], which bit of its byte, 0 the most significant.
    """
    most = int(bytes_after.max()) if len(bytes_after) else 0
    result: Words = _table(max(0, most).bit_length())[bytes_after, bit]
    return result


@lru_cache(maxsize=4)
def _table(doublings: int) -> Words:
    """uint32 [2**doublings, 8]: the share of each bit of the byte so far from the end."""
    step = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        step = (step >> 1) ^ np.where(step & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    table: Words = step[128 >> np.arange(8)][None]
    # A checksum word that n zero bytes follow: the exclusive or of what its four bytes become.
    bytes_ = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]
    move = (bytes_ >> 8) ^ step[bytes_ & 0xFF]
    for _ in range(doublings):
        table = np.concatenate([table, _moved(table, move)])
        move = _moved(move, move)
    return table


def _moved(words: Words, move: Words) -> Words:
    one, two, three, four = (move[i][(words >> (8 * i)) & 0xFF] for i in range(4))
    moved: Words = one ^ two ^ three ^ four
    return moved
