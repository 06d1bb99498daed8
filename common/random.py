"""Counter-based randomness: the same seed gives a packet the same fate in any order, batching and codec.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised over
counters. A stream is keyed by (seed, stream name); its counter holds (block, sequence number, frame index, round).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox4x32(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U64, U64, U64, U64]:
    """Ten rounds on counters given as four arrays of 32-bit words (held in uint64)."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * x0, _M1 * x2
        x0, x1, x2, x3 = (p1 >> _32) ^ x1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ x3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return x0, x1, x2, x3


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
        seq, blk = np.broadcast_arrays(np.asarray(sequence, np.uint64), np.asarray(block, np.uint64))
        frame = np.full_like(seq, self.frame_index & 0xFFFFFFFF)
        round_ = np.full_like(seq, self.round & 0xFFFFFFFF)
        x0, x1, x2, x3 = philox4x32((blk & _LOW, seq & _LOW, frame, round_), self._key())
        return np.stack([(x1 << _32) | x0, (x3 << _32) | x2], axis=-1)

    def uniform(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> npt.NDArray[np.float64]:
        """float64 in [0, 1), 53 random bits, one for each (sequence, block)."""
        result: npt.NDArray[np.float64] = (self.words(sequence, block)[..., 0] >> np.uint64(11)) * 2.0**-53
        return result

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        """A permutation of range(count): positions in the order of their random words."""
        return np.argsort(self.words(np.arange(count))[:, 0], kind="stable")

    def integer(self) -> int:
        """One number in [0, 2**63), for seeding another generator."""
        return int(self.words(0)[..., 0]) >> 1
