"""Block fading: the gain of a link is constant for a block of packets, and independent from block to block.

    h = sqrt(K/(K+1)) + sqrt(1/(K+1)) * g,   g ~ CN(0, 1),   E|h|^2 = 1

K = 0: Rayleigh fading, |h|^2 is exponential; K > 0: Rician fading, |h|^2 is noncentral chi-square. The SNR of a packet
is |h|^2 * power * snr. The noise is not scaled by the gain, which would undo the fading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gocom.common.counter_rng import CounterRng
from gocom.common.types import Ints

Doubles = npt.NDArray[np.float64]

_MIN_LOG_GAIN, _MAX_LOG_GAIN = -34.0, 5.0
"""Range of ln |h|^2 in the quadrature; the probability below it is 2e-15, and above it 4e-65."""
QUADRATURE_STEP = 0.05
"""Distance between nodes of ln |h|^2; an averaged function must not change much within less."""


@dataclass(frozen=True)
class Fading:
    """The distribution of gains.

    Attributes:
        k_factor: power of the line of sight over the scattered power, linear; 0: Rayleigh fading; None: no fading, |h|
            = 1.
        step: distance between nodes of ln |h|^2; a function that changes faster with the gain needs a smaller one.
    """

    k_factor: float | None = 0.0
    step: float = QUADRATURE_STEP

    def gains(self, block: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
        """Return the gain h of each block number, int64 [B], as complex128 [B]; equal numbers have equal gains."""
        if self.k_factor is None:
            return np.ones(len(block), complex)
        u = rng.uniform_blocks(block, 0, 1)
        scattered = np.sqrt(-np.log(1 - u[:, 0])) * np.exp(2j * np.pi * u[:, 1])
        h: npt.NDArray[np.complex128] = (np.sqrt(self.k_factor) + scattered) / np.sqrt(self.k_factor + 1)
        return h

    def mean(self, function: Callable[[Doubles], Doubles]) -> float:
        """Return E f(|h|^2) for a function of float64 [N] that is smooth where |h|^2 has probability mass."""
        return float(self.weights @ function(self.nodes))

    @cached_property
    def nodes(self) -> Doubles:
        """Values of |h|^2 that represent its distribution together with `weights`, float64 [N].

        They belong to the trapezoidal rule in ln |h|^2. The density falls off double-exponentially on both sides there,
        so the rule converges faster than any power of the step.
        """
        return np.ones(1) if self.k_factor is None else np.exp(np.arange(_MIN_LOG_GAIN, _MAX_LOG_GAIN, self.step))

    @cached_property
    def weights(self) -> Doubles:
        """Weights of the nodes, float64 [N], with sum 1."""
        if self.k_factor is None:
            return np.ones(1)
        weights = self.density(self.nodes) * self.nodes * self.step
        return np.asarray(weights / weights.sum())

    def cdf(self, gain: npt.ArrayLike) -> Doubles:
        """Return P(|h|^2 < gain) = 1 - Q1(sqrt(2K), sqrt(2(1+K)x)) with Marcum's Q function, float64 [...]."""
        from scipy.special import chndtr  # noqa: PLC0415 - an emulator without fading starts quicker without it

        x = np.asarray(gain, float)
        if self.k_factor is None:
            return np.asarray(x > 1).astype(float)
        return np.asarray(chndtr(2 * (1 + self.k_factor) * x, 2, 2 * self.k_factor))

    def density(self, gain: Doubles) -> Doubles:
        """Return the density of |h|^2, (1+K) exp(-K - (1+K)x) I0(2 sqrt(K(1+K)x)), float64 [N]; only with fading."""
        from scipy.special import ive  # noqa: PLC0415 - see cdf

        assert self.k_factor is not None
        k, x = self.k_factor, gain
        bessel_argument = 2 * np.sqrt(k * (1 + k) * x)
        density: Doubles = (1 + k) * ive(0, bessel_argument) * np.exp(-((np.sqrt((1 + k) * x) - np.sqrt(k)) ** 2))
        return density


def blocks_of(sequence: Ints, coherence: float) -> Ints:
    """Return the block number of each packet, int64 [P]. `coherence` is a whole number, but may be of type float."""
    return sequence // int(coherence)
