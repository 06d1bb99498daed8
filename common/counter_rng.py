"""Counter-based randomness: the same seed gives a packet the same fate in any order, batching and codec.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised over
counters. A stream is keyed by (seed, stream name); its counter holds (block, sequence number, frame index, round).
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

U32 = npt.NDArray[np.uint32]

_FACTORS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_STEPS = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_ROUNDS = 10
_LOW_HALF = 0 if sys.byteorder == "little" else 1
_LOW = 0xFFFFFFFF
_PIECE = 1 << 16
"""Counters worked on at once; bounds memory."""
_11, _32 = np.uint64(11), np.uint64(32)


def philox4x32(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U32, U32, U32, U32]:
    """Ten rounds on counters given as four arrays [N] of 32-bit words."""
    even, odd = _rounds(np.array(counter[::2], np.uint64), np.array(counter[1::2]).astype(np.uint32), key)
    return even[0], odd[0], even[1], odd[1]


def _rounds(even: U64, odd: U32, key: tuple[int, int]) -> tuple[U32, U32]:
    """Ten rounds on words 0 and 2, and words 1 and 3, both [2, N]; the arrays given are overwritten.

    Few operations on short arrays: a batch of a hundred packets costs the calls of numpy, not the arithmetic.
    """
    product = np.empty(even.shape, np.uint64)
    words, halves = (array.view(np.uint32).reshape(*even.shape, 2) for array in (even, product))
    low_even = words[:, :, _LOW_HALF]
    # Words 0 and 2 take from each other's product.
    low, high = halves[::-1, :, _LOW_HALF], halves[::-1, :, 1 - _LOW_HALF]
    keys = (np.array(key, np.uint64) + np.arange(_ROUNDS, dtype=np.uint64)[:, None] * _STEPS).astype(np.uint32)
    for key_words in keys[:, :, None]:
        np.multiply(even, _FACTORS, out=product)
        np.bitwise_xor(odd, key_words, out=odd)
        np.bitwise_xor(high, odd, out=low_even)
        np.copyto(odd, low)
    return low_even, odd


@dataclass(frozen=True, slots=True)
class CounterRng:
    """Random numbers addressed by (seed, stream, frame index, round, sequence number, block).

    Attributes:
        seed: any non-negative integer below 2**64.
        stream: what the numbers are for; two streams are independent.
    """

    seed: int
    stream: str
    frame_index: int = 0
    round: int = 0

    def at(self, frame_index: int, round_: int) -> CounterRng:
        """The same stream at another frame and round."""
        return CounterRng(self.seed, self.stream, frame_index, round_)

    def sub(self, name: str) -> CounterRng:
        """An independent stream below this one."""
        return CounterRng(self.seed, f"{self.stream}/{name}", self.frame_index, self.round)

    def _key(self) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self.seed}\0{self.stream}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def words(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> U64:
        """uint64 [..., 2]: two 64-bit words for each (sequence, block), broadcast together."""
        even, odd, shape = self._words32(sequence, block)
        result = odd.astype(np.uint64) << _32 | even
        return np.moveaxis(result, 0, -1).reshape(*shape, 2)

    def uniform(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> npt.NDArray[np.float64]:
        """float64 in [0, 1), 53 random bits, one for each (sequence, block)."""
        even, odd, shape = self._words32(sequence, block)
        word = odd[0].astype(np.uint64)
        word <<= _32
        word |= even[0]
        word >>= _11
        result: npt.NDArray[np.float64] = word * 2.0**-53
        return result.reshape(shape)

    def uniforms(self, sequence: npt.NDArray[np.int64], block: int, blocks: int) -> npt.NDArray[np.float64]:
        """Many for each sequence number, at half the cost: a block has two.

        Args:
            sequence: int64 [A].
            block: the first one.
            blocks: how many, 1 or more.

        Returns:
            float64 [A, 2 blocks] in [0, 1), 53 random bits; the first of each block is the one of `uniform`.
        """
        even, odd, shape = self._words32(sequence[:, None], np.arange(block, block + blocks))
        word = np.empty((*shape, 2), np.uint64)
        halves = word.view(np.uint32).reshape(-1, 2, 2)
        halves[:, :, _LOW_HALF], halves[:, :, 1 - _LOW_HALF] = even.T, odd.T
        word >>= _11
        result: npt.NDArray[np.float64] = word * 2.0**-53
        return result.reshape(len(sequence), 2 * blocks)

    def _words32(self, sequence: npt.ArrayLike, block: npt.ArrayLike) -> tuple[U32, U32, tuple[int, ...]]:
        """Words 0 and 2, and words 1 and 3, of each (sequence, block), uint32 [2, N]; and the shape of the N."""
        seq, blk = np.asarray(sequence), np.asarray(block)
        shape = np.broadcast_shapes(seq.shape, blk.shape)
        even, odd = np.empty((2, *shape), np.uint64), np.empty((2, *shape), np.uint32)
        even[0], even[1] = blk & _LOW, self.frame_index & _LOW
        odd[0], odd[1] = seq & _LOW, self.round & _LOW
        return (*_rounds(even.reshape(2, -1), odd.reshape(2, -1), self._key()), shape)

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """A permutation of range(count): positions in the order of their random words."""
        pieces = [np.arange(start, min(start + _PIECE, count)) for start in range(0, count, _PIECE)]
        words = [self.words(piece)[:, 0] for piece in pieces]
        return np.argsort(np.concatenate([np.zeros(0, np.uint64), *words]), kind="stable")

    def integer(self) -> int:
        """One number in [0, 2**63), for seeding another generator."""
        return int(self.words(0)[..., 0]) >> 1
