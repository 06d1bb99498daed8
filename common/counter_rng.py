"""Counter-based random numbers: each one depends only on its address, not on the numbers that were drawn before.

So the same seed gives a packet the same fate in any order, in any batching and with any codec. The generator is
Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised over
counters. The key is derived from (seed, stream name); the counter is (block, sequence number, frame index, round).
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
_CHUNK = 1 << 16
"""Number of counters of a permutation that are evaluated at once; bounds memory."""
_11, _32 = np.uint64(11), np.uint64(32)


def philox4x32(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U32, U32, U32, U32]:
    """Return the output words, four uint32 [N], of N counters. The counters are four arrays [N] of 32-bit words."""
    even, odd = _rounds(np.array(counter[::2], np.uint64), np.array(counter[1::2]).astype(np.uint32), key)
    return even[0], odd[0], even[1], odd[1]


def _rounds(even: U64, odd: U32, key: tuple[int, int]) -> tuple[U32, U32]:
    """Apply the ten rounds to counters, and overwrite the given arrays.

    The code is written for few numpy calls: for a batch of a hundred packets the calls take the time, not the
    arithmetic.

    Args:
        even: uint64 [2, N], words 0 and 2 of each counter.
        odd: uint32 [2, N], words 1 and 3.
        key: two 32-bit words.

    Returns:
        Output words 0 and 2, and output words 1 and 3, both uint32 [2, N].
    """
    product = np.empty(even.shape, np.uint64)
    words, halves = (array.view(np.uint32).reshape(*even.shape, 2) for array in (even, product))
    low_even = words[:, :, _LOW_HALF]
    # Reversed, since words 0 and 2 are made from each other's product.
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
    """A generator whose numbers are addressed by (seed, stream, frame index, round, sequence number, block).

    Attributes:
        seed: integer in [0, 2**64).
        stream: name of the purpose of the numbers; streams of different names are independent.
        frame_index, round: the frame and its round that the numbers belong to.
    """

    seed: int
    stream: str
    frame_index: int = 0
    round: int = 0

    def at(self, frame_index: int, round_: int) -> CounterRng:
        """Return the generator of the same stream at another frame and round."""
        return CounterRng(self.seed, self.stream, frame_index, round_)

    def substream(self, name: str) -> CounterRng:
        """Return the generator of an independent stream, named `<stream>/<name>`."""
        return CounterRng(self.seed, f"{self.stream}/{name}", self.frame_index, self.round)

    def _key(self) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self.seed}\0{self.stream}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def words(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> U64:
        """Return two random 64-bit words for each (sequence, block), which are broadcast together: uint64 [..., 2]."""
        even, odd, shape = self._words32(sequence, block)
        result = odd.astype(np.uint64) << _32 | even
        return np.moveaxis(result, 0, -1).reshape(*shape, 2)

    def uniform(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> npt.NDArray[np.float64]:
        """Return one uniform float64 in [0, 1) with 53 random bits for each (sequence, block), broadcast together."""
        even, odd, shape = self._words32(sequence, block)
        word = odd[0].astype(np.uint64)
        word <<= _32
        word |= even[0]
        word >>= _11
        result: npt.NDArray[np.float64] = word * 2.0**-53
        return result.reshape(shape)

    def uniform_blocks(self, sequence: npt.NDArray[np.int64], block: int, blocks: int) -> npt.NDArray[np.float64]:
        """Return several uniform numbers for each sequence number, two of every block, at half the cost of `uniform`.

        Args:
            sequence: int64 [A].
            block: number of the first block.
            blocks: number of blocks, 1 or more.

        Returns:
            float64 [A, 2 * blocks] in [0, 1), with 53 random bits. The first number of each block is that of `uniform`.
        """
        even, odd, shape = self._words32(sequence[:, None], np.arange(block, block + blocks))
        word = np.empty((*shape, 2), np.uint64)
        halves = word.view(np.uint32).reshape(-1, 2, 2)
        halves[:, :, _LOW_HALF], halves[:, :, 1 - _LOW_HALF] = even.T, odd.T
        word >>= _11
        result: npt.NDArray[np.float64] = word * 2.0**-53
        return result.reshape(len(sequence), 2 * blocks)

    def _words32(self, sequence: npt.ArrayLike, block: npt.ArrayLike) -> tuple[U32, U32, tuple[int, ...]]:
        """Return words 0 and 2, words 1 and 3, both uint32 [2, N] with one column for each (sequence, block), and the
        broadcast shape, whose size is N."""
        seq, blk = np.asarray(sequence), np.asarray(block)
        shape = np.broadcast_shapes(seq.shape, blk.shape)
        even, odd = np.empty((2, *shape), np.uint64), np.empty((2, *shape), np.uint32)
        even[0], even[1] = blk & _LOW, self.frame_index & _LOW
        odd[0], odd[1] = seq & _LOW, self.round & _LOW
        return (*_rounds(even.reshape(2, -1), odd.reshape(2, -1), self._key()), shape)

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """Return a random permutation of range(count): int64 [count], the positions sorted by their random words."""
        chunks = [np.arange(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
        words = [self.words(chunk)[:, 0] for chunk in chunks]
        return np.argsort(np.concatenate([np.zeros(0, np.uint64), *words]), kind="stable")

    def integer(self) -> int:
        """Return an integer in [0, 2**63) to seed another generator with."""
        return int(self.words(0)[..., 0]) >> 1
