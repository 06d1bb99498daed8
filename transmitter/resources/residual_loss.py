"""Benefit of repair packets: the expected share of a segment that stays lost, in closed form.

    K source packets, then r repair packets, over a stationary Markov chain of two states:

              p
        .---------->.          a packet is lost in the bad state and arrives in the good one (simple Gilbert):
      GOOD         BAD         loss rate e = p/(p+r'), mean burst length 1/r'
        '<----------'          the shortest mean burst is 1/(1-e): then p + r' = 1 and losses are independent
              r'

RaptorQ (RFC 6330) recovers all source packets from any K packets, except in 1 of 256 blocks, and from K + x packets,
except in 1 of 256^(x+1). In the other blocks the lost packets stay lost. A segment of a single packet is repeated, and
lost only if all copies are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.common.csi import Csi

Doubles = npt.NDArray[np.float64]

_RAPTORQ_FAILURE = 1 / 256
_SURPLUS_COUNTS = 4
"""Number of surplus counts x = 0, 1, ... for which a failure of RaptorQ is considered; the last has 1 of 256^4 blocks.
"""
_NEGLIGIBLE = 1e-12
"""Residual loss below which further repair packets are not considered."""


def lost_shares(source: int, max_repair: int, csi: Csi, *, whole: bool = False) -> Doubles:
    """Return the expected share of a segment's source packets that stays lost, by number of repair packets.

    The share is exact if losses are independent or a simple Gilbert chain of the given rate and mean burst length; the
    size of a packet and errors of its bits are not considered. Takes time of O(K² + R²), a second for K = 8000 and
    R = 2048; results are cached for the next round.

    Args:
        source: K, 1 or more.
        max_repair: maximum number of repair packets.
        csi: loss rate and mean burst length; bursts shorter than those of independent losses are taken as independent.
        whole: the segment is useless unless all of it arrives, so any loss that stays counts as a loss of all.

    Returns:
        float64 [R+1] for 0, 1, ... R repair packets, read-only. R is max_repair, or less if more change nothing.
    """
    rate = min(1.0, max(0.0, csi.packet_erasure_rate))
    if rate in (0.0, 1.0):
        return np.array([rate])
    burst_end = min(1 / max(csi.mean_burst_packets, 1.0), 1 - rate)
    # Rounded up to a power of two, so that the slightly different budgets of further rounds find the cached result.
    rounded_up = 1 << (max_repair - 1).bit_length() if max_repair else 0
    return _shares(source, rounded_up, rate, burst_end, whole)[: max_repair + 1]


@lru_cache(maxsize=128)
def _shares(source: int, max_repair: int, rate: float, burst_end: float, whole: bool) -> Doubles:
    """Compute `lost_shares`. `burst_end` is the probability that a burst ends after a packet."""
    chain = np.array([[1 - rate * burst_end / (1 - rate), rate * burst_end / (1 - rate)], [burst_end, 1 - burst_end]])
    lost = np.zeros((2, 2))  # probability, by [state of the last packet, packets lost]
    lost[0, 0], lost[1, 1] = 1 - rate, rate
    for _ in range(source - 1):
        lost = _with_one_packet(lost, chain)
    cost = np.minimum(np.arange(source + 1), 1.0) if whole else np.arange(source + 1) / source
    value = lost * cost
    # Expected loss from cases with more than l source packets lost, by l.
    beyond = np.append(np.cumsum(value.sum(axis=0)[::-1])[::-1][1:], 0.0)
    # Probability of repair packets lost: [state after the last source packet, current state, packets lost].
    repair = np.eye(2)[:, :, None]
    shares = [float(value.sum())]
    for count in range(1, max_repair + 1):
        repair = np.stack([_with_one_packet(one, chain) for one in repair])
        stays = _stay_lost(repair.sum(axis=1), source)
        few = min(source, count)
        # More source packets lost than there are repair packets: none is recovered. Otherwise all l are, if enough
        # repair packets arrive.
        within = (value[:, : few + 1] * stays[:, count - few :][:, ::-1]).sum()
        shares.append(float(beyond[few] + within))
        if shares[-1] < _NEGLIGIBLE:
            break
    found = np.array(shares)
    found.flags.writeable = False
    return found


def _stay_lost(lost: Doubles, source: int) -> Doubles:
    """Return the probability that lost source packets stay lost, float64 [2, r+1].

    Entry [state, m] holds if r - m source packets are lost, given the state after the last of them.

    Args:
        lost: float64 [2, r+1], probability that j repair packets are lost, by state after the last source packet.
        source: K.
    """
    beyond = np.cumsum(lost[:, ::-1], axis=1)[:, ::-1]  # probability of j or more
    stays = np.zeros_like(lost)
    stays[:, :-1] = beyond[:, 1:]
    if source > 1:
        for extra in range(min(_SURPLUS_COUNTS, lost.shape[1])):
            stays[:, extra:] += _RAPTORQ_FAILURE ** (extra + 1) * lost[:, : lost.shape[1] - extra]
    return stays


def _with_one_packet(lost: Doubles, chain: Doubles) -> Doubles:
    """Extend a distribution by one packet: float64 [2, n] -> float64 [2, n+1], by state and number of packets lost."""
    more = np.zeros((2, lost.shape[1] + 1))
    more[0, :-1] = lost[0] * chain[0, 0] + lost[1] * chain[1, 0]
    more[1, 1:] = lost[0] * chain[0, 1] + lost[1] * chain[1, 1]
    return more
