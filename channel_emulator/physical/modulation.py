"""Gray-mapped modulation and its bit errors in noise.

    payload bits --Gray--> in-phase and quadrature amplitudes --noise--> nearest amplitudes --Gray--> bits

A symbol of square M-QAM has two components, in-phase and quadrature. Each is an amplitude modulation with sqrt(M)
levels, and their noise is independent. BPSK has one component with two levels. The first half of a symbol's bits
belongs to the in-phase component; the most significant bit of a component comes first. SNR is Es/N0 of a symbol,
linear; the noise has variance N0/2 per component.

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
        name: name in settings.
        bits: bits per symbol.
        components: 1: in-phase only; 2: in-phase and quadrature.
    """

    name: str
    bits: int
    components: int

    @property
    def bits_per_component(self) -> int:
        """Number of bits per component."""
        return self.bits // self.components

    @property
    def levels(self) -> int:
        """Number of amplitudes of a component: (2i + 1 - levels) * half_step, i from 0."""
        return 1 << self.bits_per_component

    @property
    def half_step(self) -> float:
        """Half the distance of neighbouring amplitudes, in units of sqrt(Es)."""
        energy = (self.levels**2 - 1) / 3 * self.components  # mean energy of a symbol whose levels are 2 apart
        return float(energy**-0.5)

    def bit_error_rates(self, snr: npt.ArrayLike) -> Doubles:
        """Return the error rate of each bit of a component, most significant first, float64 [..., bits_per_component].

        P_k = 1/L * sum_{i=0}^{(1-2^-k)L-1} (-1)^floor(i 2^(k-1)/L) * (2^(k-1) - floor(i 2^(k-1)/L + 1/2))
              * erfc((2i+1) * half_step * sqrt(snr))

        Args:
            snr: [...], linear.
        """
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        count, rates = self.levels, []
        tails = [erfc((2 * i + 1) * distance) for i in range(count - 1)]
        for k in range(1, self.bits_per_component + 1):
            half, total = 1 << (k - 1), np.zeros_like(distance)
            for i in range(count - (count >> k)):
                sign = -1 if (i * half // count) % 2 else 1
                total += sign * (half - (2 * i * half + count) // (2 * count)) * tails[i]
            rates.append(total / count)
        return np.stack(rates, axis=-1)

    def bit_error_rate(self, snr: npt.ArrayLike) -> Doubles:
        """Return the mean of the error rates of the bit positions, float64 [...]."""
        mean: Doubles = self.bit_error_rates(snr).mean(axis=-1)
        return mean

    def component_error_rate(self, snr: npt.ArrayLike, bits: int | None = None) -> Doubles:
        """Return the probability of an error in the first `bits` bits of a component (None: in any bit), float64 [...].

        For all bits this is 2(L-1)/L * Q(half_step * sqrt(2 snr)).
        """
        prefix_bits = self.bits_per_component if bits is None else bits
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        # Runs of this many neighbouring levels agree in their first bits, so an error means leaving the run.
        run = 1 << (self.bits_per_component - prefix_bits)
        total = np.zeros_like(distance)
        for level in range(self.levels):
            below, above = level % run, run - 1 - level % run
            low, high = level - below, level + above
            if low > 0:
                total += erfc((2 * below + 1) * distance) / 2
            if high < self.levels - 1:
                total += erfc((2 * above + 1) * distance) / 2
        return np.asarray(total / self.levels)

    def bit_error_moments(self, snr: npt.ArrayLike) -> tuple[Doubles, Doubles]:
        """Return mean and variance of the number of wrong bits in one component of a symbol, float64 [...] each.

        A component is the real or the imaginary part of a symbol.

        Args:
            snr: Es/N0 of the symbol, linear, [...].
        """
        distance = self.half_step * np.sqrt(np.asarray(snr, float))
        mean, square = np.zeros_like(distance), np.zeros_like(distance)
        level = np.arange(self.levels)
        gray = level ^ (level >> 1)
        for sent in range(self.levels):
            # Probability of ending above each threshold between levels, in ascending order.
            above = [erfc((2 * (edge - sent) + 1) * distance) / 2 for edge in range(self.levels - 1)]
            exceedance = [np.ones_like(distance), *above, np.zeros_like(distance)]
            for decided in range(self.levels):
                wrong = int(gray[sent] ^ gray[decided]).bit_count()
                share = (exceedance[decided] - exceedance[decided + 1]) / self.levels
                mean += wrong * share
                square += wrong**2 * share
        return mean, square - mean**2

    def detect(self, bits: npt.NDArray[np.uint8], noise: Floats) -> npt.NDArray[np.uint8]:
        """Send bits, add noise, and return the bits of the nearest amplitudes.

        Args:
            bits: uint8 [..., bits_per_component] of 0 and 1, the bits of each component.
            noise: float64 [...], in units of sqrt(Es).

        Returns:
            uint8 [..., bits_per_component].
        """
        weights = 1 << np.arange(self.bits_per_component)[::-1]
        sent = _from_gray(bits @ weights, self.bits_per_component)
        # Levels are two half steps apart; the noise is rounded to whole levels, clipped at the outermost ones.
        moved = np.rint(sent + noise / (2 * self.half_step)).clip(0, self.levels - 1).astype(np.int64)
        gray = moved ^ (moved >> 1)
        return np.asarray((gray[..., None] & weights) != 0, np.uint8)


def _from_gray(words: Ints, bits: int) -> Ints:
    """Return the levels whose Gray codes are `words`."""
    level = words.copy()
    for shift in range(1, bits):
        level ^= words >> shift
    return level


MODULATIONS = {m.name: m for m in (Modulation("bpsk", 1, 1), Modulation("qpsk", 2, 2), Modulation("qam16", 4, 2),
                                   Modulation("qam64", 6, 2))}  # fmt: skip


def modulation_of(name: str) -> Modulation:
    """Return the modulation of this name. Raise UnknownName if there is none."""
    if name not in MODULATIONS:
        raise UnknownName("modulation", str(name)[:80], MODULATIONS)
    return MODULATIONS[name]
