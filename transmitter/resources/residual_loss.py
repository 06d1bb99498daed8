"""What repair packets are worth: the share of a segment that is expected to stay lost, in closed form.

    K source packets, then r repair packets, over a chain of two states that starts stationary:

              p
        .---------->.          a packet is lost in the bad state and arrives in the good one (simple Gilbert):
      GOOD         BAD         rate of loss e = p/(p+r'), mean burst 1/r'
        '<----------'          bursts of 1/(1-e), the shortest there are: p + r' = 1, packets are lost independently
              r'

RaptorQ (RFC 6330) brings all source packets back from K packets of either sort but for 1 in 256 blocks, from K + x but
for 1 in 256^(x+1); otherwise those that were lost stay lost. A single packet is repeated, and lost if all copies are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.common.csi import Csi

Doubles = npt.NDArray[np.float64]

_FAILURE = 1 / 256
_EXTRA = 4
"""Packets beyond K that are looked at for a failure of RaptorQ: after as many it is once in 256^4 blocks."""
_NOTHING = 1e-12
"""Below this share no further repair packet is worth a look."""


def lost_shares(source: int, most_repair: int, csi: Csi, *, whole: bool = False) -> Doubles:
    """Share of a segment's source packets that is expected to stay lost, by number of repair packets.

    Exact for losses that are independent or a simple Gilbert chain of the rate and the mean burst given; a packet's
    size and the bits in it play no part. Takes time of O(K² + R²), a second for K = 8000 and R = 2048; what
    was worked out is kept for the next round.

    Args:
        source: K, 1 or more.
        most_repair: repair packets to go up to.
        csi: rate of loss and mean burst; bursts shorter than independent losses have count as independent.
        whole: the segment is of no use unless all of it is there: any loss that stays loses all of it.

    Returns:
        float64 [R+1] for 0, 1, ... R repair packets, R = most_repair, or less where more of them change nothing; not
        to be written to.
    """
    rate = min(1.0, max(0.0, csi.packet_erasure_rate))
    if rate in (0.0, 1.0):
        return np.array([rate])
    leave = min(1 / max(csi.mean_burst_packets, 1.0), 1 - rate)
    # Budgets differ a little from round to round: up to a power of two, so that they find what is kept.
    most = 1 << (most_repair - 1).bit_length() if most_repair else 0
    return _shares(source, most, rate, leave, whole)[: most_repair + 1]


@lru_cache(maxsize=128)
def _shares(source: int, most_repair: int, rate: float, leave: float, whole: bool) -> Doubles:
    """See lost_shares; `leave`: chance that a burst ends with a packet."""
    chain = np.array([[1 - rate * leave / (1 - rate), rate * leave / (1 - rate)], [leave, 1 - leave]])
    lost = np.zeros((2, 2))  # [state of the last packet, packets lost]
    lost[0, 0], lost[1, 1] = 1 - rate, rate
    for _ in range(source - 1):
        lost = _next(lost, chain)
    cost = np.minimum(np.arange(source + 1), 1.0) if whole else np.arange(source + 1) / source
    value = lost * cost
    # Worth of more than l packets lost, by l.
    beyond = np.append(np.cumsum(value.sum(axis=0)[::-1])[::-1][1:], 0.0)
    # Repair packets lost, given the state of the last source packet: [that state, state now, lost].
    repair = np.eye(2)[:, :, None]
    shares = [float(value.sum())]
    for count in range(1, most_repair + 1):
        repair = np.stack([_next(one, chain) for one in repair])
        stays = _stays(repair.sum(axis=1), source)
        few = min(source, count)
        # More lost than there are repair packets: nothing helps. Else l of the K are back if all goes well.
        within = (value[:, : few + 1] * stays[:, count - few :][:, ::-1]).sum()
        shares.append(float(beyond[few] + within))
        if shares[-1] < _NOTHING:
            break
    found = np.array(shares)
    found.flags.writeable = False
    return found


def _stays(lost: Doubles, source: int) -> Doubles:
    """float64 [2, r+1]: chance that a source packet stays lost where r - m of them are, by m.

    Args:
        lost: float64 [2, r+1], chance of j repair packets lost.
    """
    beyond = np.cumsum(lost[:, ::-1], axis=1)[:, ::-1]  # j or more
    stays = np.zeros_like(lost)
    stays[:, :-1] = beyond[:, 1:]
    if source > 1:
        for extra in range(min(_EXTRA, lost.shape[1])):
            stays[:, extra:] += _FAILURE ** (extra + 1) * lost[:, : lost.shape[1] - extra]
    return stays


def _next(lost: Doubles, chain: Doubles) -> Doubles:
    """One packet more: float64 [2, n] -> float64 [2, n+1], by state and packets lost."""
    more = np.zeros((2, lost.shape[1] + 1))
    more[0, :-1] = lost[0] * chain[0, 0] + lost[1] * chain[1, 0]
    more[1, 1:] = lost[0] * chain[0, 1] + lost[1] * chain[1, 1]
    return more
