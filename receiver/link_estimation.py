"""A receiver's estimate of the link, from the packets that arrived and those that did not.

    rounds --latest packets--> arrived or lost, in order --> share lost, mean run of losses, effective SNR

Each packet of a round counts once, copies included. It counts as lost if it did not arrive before the end of its round
or its checksum was wrong, even if repair packets recovered it. Damage that the channel delivers is not seen.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist

import numpy as np

from gocom.common.csi import LinkReport
from gocom.common.types import Bools, Ints
from gocom.common.wire.feedback import MAX_SNR_DB, MIN_SNR_DB

WINDOW = 1024
"""Number of latest packets that an estimate is based on: it bounds the memory, and the delay with which a change shows.
"""


class LinkEstimate:
    """Estimates the link from the latest WINDOW packets of a session's rounds."""

    def __init__(self) -> None:
        self._rounds: deque[Ints] = deque()
        self._packets = 0

    def add(self, packet_bytes: Ints) -> None:
        """Add a round that has ended: int64 [P], payload bytes of each packet, -1 if it did not arrive intact."""
        if not len(packet_bytes):
            return
        self._rounds.append(packet_bytes[-WINDOW:].copy())
        self._packets += len(self._rounds[-1])
        while self._packets > WINDOW:
            oldest, over = self._rounds[0], self._packets - WINDOW
            if over >= len(oldest):
                self._rounds.popleft()
            else:
                self._rounds[0] = oldest[over:].copy()
            self._packets -= min(over, len(oldest))

    def report(self) -> LinkReport | None:
        """Return the estimate; None if no packet was sent yet. A run of losses ends with its round."""
        if not self._packets:
            return None
        sizes = np.concatenate(self._rounds)
        arrived, lost = sizes[sizes >= 0], int(np.count_nonzero(sizes < 0))
        runs = sum(_count_runs(of_round < 0) for of_round in self._rounds)
        snr_db = effective_snr_db(lost / len(sizes), 8 * float(arrived.mean())) if len(arrived) else None
        return LinkReport(len(sizes), lost, lost / runs if runs else 0.0, snr_db)


def _count_runs(lost: Bools) -> int:
    """Return the number of runs of True in bool [P], P of 1 or more."""
    return int(np.count_nonzero(lost[1:] & ~lost[:-1])) + bool(lost[0])


def effective_snr_db(loss: float, bits: float) -> float | None:
    """Return the Es/N0 in dB at which BPSK over white noise loses this share of packets to bit errors.

    loss = 1 - (1 - BER)^bits, BER = Q(sqrt(2 snr)). None unless 0 < loss < 1, if the bit error rate would be 0.5 or
    more, and if the SNR is outside the range of a report (common/wire/feedback.py).

    Args:
        loss: share of packets that are lost, 0 to 1.
        bits: mean size in bits of the packets that arrived. Long packets are lost more often, so it is somewhat low.
    """
    if not 0 < loss < 1 or bits <= 0:
        return None
    bit_error_rate = -math.expm1(math.log1p(-loss) / bits)
    if bit_error_rate >= 0.5:
        return None
    snr_db = 10 * math.log10(NormalDist().inv_cdf(bit_error_rate) ** 2 / 2)
    return snr_db if MIN_SNR_DB <= snr_db <= MAX_SNR_DB else None
