"""What a receiver makes of the link from the packets that came and those that did not.

    rounds --latest packets--> arrived or not, in order --> share lost, mean run of losses, effective SNR

A packet counts once, whether it came twice or not at all: as lost where it did not arrive by the end of its round, or
failed its checksum. What repair packets brought back was lost all the same. Damage that is delivered is not seen.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from scipy.special import ndtri

from gocom.common.csi import LinkReport
from gocom.common.types import Bools, Ints
from gocom.common.wire.feedback import MAX_SNR_DB, MIN_SNR_DB

WINDOW = 1024
"""Packets that an estimate goes by; bounds memory, and how long a link that changed is still seen as it was."""


class LinkEstimate:
    """Sees the rounds of a session, and estimates from their latest packets, WINDOW of them."""

    def __init__(self) -> None:
        self._rounds: deque[Ints] = deque()
        self._packets = 0

    def add(self, packet_bytes: Ints) -> None:
        """Take in a round that has ended: int64 [P], payload of each packet, -1 for one that did not arrive whole."""
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
        """What there is to say; None: no packet was sent yet. Runs do not go on from round to round."""
        if not self._packets:
            return None
        sizes = np.concatenate(self._rounds)
        arrived, lost = sizes[sizes >= 0], int(np.count_nonzero(sizes < 0))
        runs = sum(_runs(of_round < 0) for of_round in self._rounds)
        snr_db = effective_snr_db(lost / len(sizes), 8 * float(arrived.mean())) if len(arrived) else None
        return LinkReport(len(sizes), lost, lost / runs if runs else 0.0, snr_db)


def _runs(lost: Bools) -> int:
    """How many runs of True there are in bool [P]."""
    return int(np.count_nonzero(lost[1:] & ~lost[:-1])) + bool(lost[0])


def effective_snr_db(loss: float, bits: float) -> float | None:
    """Es/N0 in dB at which BPSK over white noise loses this share of packets to bit errors.

    loss = 1 - (1 - BER)^bits, BER = Q(sqrt(2 snr)); None outside of 0 < loss < 1, where it takes a bit error rate of a
    half or more, and beyond what a report can say (common/wire/feedback.py).

    Args:
        loss: share of packets, 0 to 1.
        bits: mean size of those that arrived; long packets are lost more often, so it is somewhat too small.
    """
    if not 0 < loss < 1 or bits <= 0:
        return None
    bit_error_rate = -math.expm1(math.log1p(-loss) / bits)
    if bit_error_rate >= 0.5:
        return None
    snr_db = 10 * math.log10(float(ndtri(bit_error_rate)) ** 2 / 2)
    return snr_db if MIN_SNR_DB <= snr_db <= MAX_SNR_DB else None
