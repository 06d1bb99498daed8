"""Packets under a channel code, without a decoder: how often a block of a good code fails.

A packet of L bits is ceil(L / (n R)) blocks of n complex symbols with R bits each, and is lost with the first of them
that fails. All blocks of a packet meet the same gain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

Doubles = npt.NDArray[np.float64]


def capacity(snr: Doubles) -> Doubles:
    """float64 [...]: bits a complex symbol, log2(1 + snr)."""
    return np.asarray(np.log1p(snr) / np.log(2))


def dispersion(snr: Doubles) -> Doubles:
    """float64 [...]: V of the complex AWGN channel, snr(snr+2)/(snr+1)^2 * log2(e)^2, squared bits a symbol."""
    return np.asarray(snr * (snr + 2) / (snr + 1) ** 2 / np.log(2) ** 2)


def outage(snr: Doubles, rate: float) -> Doubles:
    """float64 [...] of 0 and 1: the rate, bits a symbol, is above capacity. What codes of any length tend to."""
    return np.asarray(capacity(snr) < rate).astype(float)


def normal_approximation(snr: Doubles, rate: float, length: int) -> Doubles:
    """float64 [...]: block error rate of the best code of `length` symbols.

    Q((nC - nR + log2(n)/2) / sqrt(nV)): Polyanskiy, Poor, Verdu, "Channel coding rate in the finite blocklength
    regime", IEEE Trans. Inf. Theory 56(5), 2010, equation 223 (real) for the complex channel.
    """
    spare = length * (capacity(snr) - rate) + 0.5 * np.log2(length)
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(log_ndtr(-spare / np.sqrt(length * dispersion(snr)))))


def packet_error_rate(block_error_rate: Doubles, blocks: npt.ArrayLike) -> Doubles:
    """float64 [...]: 1 - (1 - e)^blocks; 0 of none."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of blocks that always fail, and of none of them
        lost = -np.expm1(np.asarray(blocks) * np.log1p(-block_error_rate))
    return np.asarray(np.where(np.asarray(blocks) == 0, 0.0, lost))
