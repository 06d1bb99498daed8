"""Bits on Gray-mapped symbols, and how often noise turns them.

    payload bits --Gray--> levels of the in-phase and the quadrature part --noise--> nearest level --Gray--> bits

A square M-QAM symbol is two amplitude modulations of sqrt(M) levels that noise meets independently; BPSK is one of two
levels. The first half of a symbol's bits is the in-phase part, each part's most significant bit first. SNR is Es/N0, of
a symbol, linear; noise has variance N0/2 a part.

Error rates of each bit position: Cho and Yoon, "On the general BER expression of one- and two-dimensional amplitude
modulations", IEEE Trans. Commun. 50(7), 2002, equations 9 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erfc

from gocom.common.errors import UnknownName
from gocom.common.types import Floats, Ints

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Modulation:
    """A constellation of unit mean energy.

    Attributes:
        name: as settings write it.
        bits: a symbol.
        parts: 1: in-phase only; 2: quadrature too.
    """

    name: str
    bits: int
    parts: int

    @property
    def bits_a_part(self) -> int:
        """Bits that share one amplitude."""
        return self.bits // self.parts

    @property
    def levels(self) -> int:
        """Amplitudes of a part: (2i + 1 - levels) * half_step, i from 0."""
        return 1 << self.bits_a_part

    @property
    def half_step(self) -> float:
        """Half the distance of neighbouring amplitudes, in units of sqrt(Es)."""
        energy = (self.levels**2 - 1) / 3 * self.parts  # of levels that are 2 apart
        return float(energy**-0.5)

    def bit_error_rates(self, snr: npt.ArrayLike) -> Doubles:
        """float64 [..., bits_a_part]: of each bit of a part, the most significant first; `snr` linear, [...].

        P_k = 1/L * sum_{i=0}^{(1-2^-k)L-1} (-1)^floor(i 2^(k-1)/L) * (2^(k-1) - floor(i 2^(k-1)/L + 1/2))
              * erfc((2i+1) * half_step * sqrt(snr))
        """
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        count, rates = self.levels, []
        tails = [erfc((2 * i + 1) * distance) for i in range(count - 1)]
        for k in range(1, self.bits_a_part + 1):
            half, total = 1 << (k - 1), np.zeros_like(distance)
            for i in range(count - (count >> k)):
                sign = -1 if (i * half // count) % 2 else 1
                total += sign * (half - (2 * i * half + count) // (2 * count)) * tails[i]
            rates.append(total / count)
        return np.stack(rates, axis=-1)

    def bit_error_rate(self, snr: npt.ArrayLike) -> Doubles:
        """float64 [...]: mean over the bit positions."""
        mean: Doubles = self.bit_error_rates(snr).mean(axis=-1)
        return mean

    def part_error_rate(self, snr: npt.ArrayLike, bits: int | None = None) -> Doubles:
        """float64 [...]: probability that the first `bits` bits of a part (all of them) are not all right.

        All of them: 2(L-1)/L * Q(half_step * sqrt(2 snr)).
        """
        kept = self.bits_a_part if bits is None else bits
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        # Neighbouring levels agree in all first bits but at the edges between runs of so many.
        run = 1 << (self.bits_a_part - kept)
        total = np.zeros_like(distance)
        for level in range(self.levels):
            below, above = level % run, run - 1 - level % run
            low, high = level - below, level + above
            if low > 0:
                total += erfc((2 * below + 1) * distance) / 2
            if high < self.levels - 1:
                total += erfc((2 * above + 1) * distance) / 2
        return np.asarray(total / self.levels)

    def wrong_bits(self, snr: npt.ArrayLike) -> tuple[Doubles, Doubles]:
        """float64 [...] twice: mean and variance of the number of wrong bits in a part."""
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        mean, square = np.zeros_like(distance), np.zeros_like(distance)
        level = np.arange(self.levels)
        gray = level ^ (level >> 1)
        for sent in range(self.levels):
            # Above each of the thresholds between levels, in order.
            above = [erfc((2 * (edge - sent) + 1) * distance) / 2 for edge in range(self.levels - 1)]
            ends = [np.ones_like(distance), *above, np.zeros_like(distance)]
            for taken in range(self.levels):
                wrong = int(gray[sent] ^ gray[taken]).bit_count()
                share = (ends[taken] - ends[taken + 1]) / self.levels
                mean += wrong * share
                square += wrong**2 * share
        return mean, square - mean**2

    def decide(self, bits: npt.NDArray[np.uint8], noise: Floats) -> npt.NDArray[np.uint8]:
        """Send bits, and take each part for the nearest amplitude.

        Args:
            bits: uint8 [..., bits_a_part] of 0 and 1: of each part.
            noise: float64 [...], in units of sqrt(Es).

        Returns:
            uint8 [..., bits_a_part].
        """
        weights = 1 << np.arange(self.bits_a_part)[::-1]
        sent = _from_gray(bits @ weights, self.bits_a_part)
        # Amplitudes are 2 half steps apart: the noise moves the level by so many, to the nearest one there is.
        moved = np.rint(sent + noise / (2 * self.half_step)).clip(0, self.levels - 1).astype(np.int64)
        gray = moved ^ (moved >> 1)
        return np.asarray((gray[..., None] & weights) != 0, np.uint8)


def _from_gray(words: Ints, bits: int) -> Ints:
    """The level whose Gray code a word is."""
    level = words.copy()
    for shift in range(1, bits):
        level ^= words >> shift
    return level


MODULATIONS = {m.name: m for m in (Modulation("bpsk", 1, 1), Modulation("qpsk", 2, 2), Modulation("qam16", 4, 2),
                                   Modulation("qam64", 6, 2))}  # fmt: skip


def modulation_of(name: str) -> Modulation:
    """By its name. Raises UnknownName."""
    if name not in MODULATIONS:
        raise UnknownName("modulation", str(name)[:80], MODULATIONS)
    return MODULATIONS[name]
