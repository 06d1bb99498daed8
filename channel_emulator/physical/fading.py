"""Block fading: the gain of a link stays while a block of packets passes, and is another one for the next block.

    h = sqrt(K/(K+1)) + sqrt(1/(K+1)) * g,   g ~ CN(0, 1),   E|h|^2 = 1

K = 0: Rayleigh, |h|^2 exponential; K > 0: Rician, |h|^2 noncentral chi-square. The SNR of a packet is |h|^2 * power *
snr, with the noise never scaled by the gain (that would undo the fading).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import chndtr, ive

from gocom.common.counter_rng import CounterRng
from gocom.common.types import Ints

Doubles = npt.NDArray[np.float64]

_FROM, _TO = -34.0, 5.0
"""Of ln |h|^2: a share of 2e-15 lies below, and of 4e-65 above."""
STEP = 0.05
"""Between nodes of ln |h|^2; what is averaged must not change in much less."""


@dataclass(frozen=True)
class Fading:
    """The distribution of gains.

    Attributes:
        k_factor: power of the line of sight over that of all that is scattered, linear; 0: Rayleigh; None: no fading,
            |h| = 1.
        step: between nodes of ln |h|^2; smaller for what changes more quickly with the gain.
    """

    k_factor: float | None = 0.0
    step: float = STEP

    def gains(self, block: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
        """complex128 [B]: h of each block, int64 [B]; the same number, the same gain."""
        if self.k_factor is None:
            return np.ones(len(block), complex)
        u = rng.uniforms(block, 0, 1)
        scattered = np.sqrt(-np.log(1 - u[:, 0])) * np.exp(2j * np.pi * u[:, 1])
        h: npt.NDArray[np.complex128] = (np.sqrt(self.k_factor) + scattered) / np.sqrt(self.k_factor + 1)
        return h

    def mean(self, of: Callable[[Doubles], Doubles]) -> float:
        """E f(|h|^2); f takes float64 [N] and is smooth where |h|^2 has weight."""
        return float(self.weights @ of(self.nodes))

    @cached_property
    def nodes(self) -> Doubles:
        """float64 [N]: values of |h|^2 that stand for its distribution, with `weights`.

        The trapezoid rule in ln |h|^2, on which densities fall off double-exponentially to both sides: it converges
        faster than any power of the step.
        """
        return np.ones(1) if self.k_factor is None else np.exp(np.arange(_FROM, _TO, self.step))

    @cached_property
    def weights(self) -> Doubles:
        """float64 [N], summing to 1."""
        if self.k_factor is None:
            return np.ones(1)
        weights = self.density(self.nodes) * self.nodes * self.step
        return np.asarray(weights / weights.sum())

    def below(self, gain: npt.ArrayLike) -> Doubles:
        """float64 [...]: probability that |h|^2 is below that: 1 - Q1(sqrt(2K), sqrt(2(1+K)x)), by Marcum's Q."""
        x = np.asarray(gain, float)
        if self.k_factor is None:
            return np.asarray(x > 1).astype(float)
        return np.asarray(chndtr(2 * (1 + self.k_factor) * x, 2, 2 * self.k_factor))

    def density(self, gain: Doubles) -> Doubles:
        """float64 [N]: of |h|^2, (1+K) exp(-K - (1+K)x) I0(2 sqrt(K(1+K)x)). Not without fading."""
        assert self.k_factor is not None
        k, x = self.k_factor, gain
        bend = 2 * np.sqrt(k * (1 + k) * x)
        density: Doubles = (1 + k) * ive(0, bend) * np.exp(-((np.sqrt((1 + k) * x) - np.sqrt(k)) ** 2))
        return density


def blocks_of(sequence: Ints, coherence: float) -> Ints:
    """int64 [P]: which block each packet lies in; `coherence`, a whole number, may be an extension's float."""
    return sequence // int(coherence)
