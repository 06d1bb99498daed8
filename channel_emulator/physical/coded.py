"""Loss of packets under a channel code, without a decoder: how often a block of a good code fails.

A packet is sent in blocks of n complex symbols with R bits per symbol. It is lost if any of its blocks fails. All
blocks of a packet have the same gain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

Doubles = npt.NDArray[np.float64]


def capacity(snr: Doubles) -> Doubles:
    """Return the capacity log2(1 + snr) in bits per complex symbol, float64 [...]."""
    return np.asarray(np.log1p(snr) / np.log(2))


def dispersion(snr: Doubles) -> Doubles:
    """Return the dispersion V of the complex AWGN channel, float64 [...].

    V = snr(snr+2)/(snr+1)^2 * log2(e)^2, in squared bits per symbol.
    """
    return np.asarray(snr * (snr + 2) / (snr + 1) ** 2 / np.log(2) ** 2)


def outage(snr: Doubles, rate: float) -> Doubles:
    """Return 1 where the rate, in bits per symbol, is above capacity, else 0; float64 [...].

    This is the limit of the block error rate for long codes.
    """
    return np.asarray(capacity(snr) < rate).astype(float)


def normal_approximation(snr: Doubles, rate: float, length: npt.ArrayLike) -> Doubles:
    """Return the block error rate of the best code of `length` symbols and `rate` bits per symbol, float64 [...].

    `snr` and `length` [...], above 0, are broadcast together; a length may be a fraction.

    Q((nC - nR + log2(n)/2) / sqrt(nV)): Polyanskiy, Poor, Verdu, "Channel coding rate in the finite blocklength
    regime", IEEE Trans. Inf. Theory 56(5), 2010, equation 223 (real) for the complex channel.
    """
    symbols = np.asarray(length, float)
    margin = symbols * (capacity(snr) - rate) + 0.5 * np.log2(symbols)
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp(log_ndtr(-margin / np.sqrt(symbols * dispersion(snr)))))


def packet_error_rate(block_error_rate: Doubles, blocks: npt.ArrayLike) -> Doubles:
    """Return the probability that any of the blocks fails, 1 - (1 - e)^blocks, float64 [...]; 0 for 0 blocks."""
    with np.errstate(divide="ignore", invalid="ignore"):  # for an error rate of 1, and for 0 blocks
        lost = -np.expm1(np.asarray(blocks) * np.log1p(-block_error_rate))
    return np.asarray(np.where(np.asarray(blocks) == 0, 0.0, lost))
