"""Channel state information (CSI) at the transmitter, and the link report that a receiver sends back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

DEFAULT_OUTAGE_TARGET = 0.1
"""Outage probability that `Csi.capacity_bytes` is computed for if none is given."""


class CsiKind(str, Enum):
    """Kind of channel state: long-run statistics only, or also the SNR of each packet of a round."""

    STATISTICAL = "statistical"
    INSTANTANEOUS = "instantaneous"


class CsiSource(str, Enum):
    """Source of the channel state: the emulator, which knows it, or the receiver, which estimates it."""

    EMULATOR = "emulator"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True)
class Csi:
    """Channel state as the transmitter knows it. The defaults describe a perfect channel.

    Attributes:
        packet_erasure_rate: long-run share of packets that do not arrive, in [0, 1].
        bit_error_rate: long-run share of flipped bits in delivered packets, in [0, 0.5].
        mean_burst_packets: mean length of a run of lost packets, 1 or more; inf if all packets are lost.
        mean_snr_db: Es/N0 in dB. From the emulator: mean SNR of a packet of power 1. From the receiver: SNR at which
            BPSK over white noise would lose the same share of packets. None: unknown, as on a channel without fading.
        threshold_snr_db: SNR in dB at which half of the packets are lost without fading; None: unknown.
        snr_db: SNR in dB of each packet of the round at power 1, by sequence number; empty: unknown. It may be shorter
            than the round; the SNR of the packets beyond it is unknown.
        capacity_bytes: number of payload bytes that the channel takes in one round, in packets of power 1 and of the
            session's payload size: the rate at the outage target that was asked for, times the symbols of a round, or
            the bytes that a queue takes. docs/channel.md has the formulas. The smallest bound of all faults; None: no
            bound is known, as from a receiver.
        source: source of the state; None: there is no source, and the channel is taken for perfect.
    """

    packet_erasure_rate: float = 0.0
    bit_error_rate: float = 0.0
    mean_burst_packets: float = 1.0
    mean_snr_db: float | None = None
    threshold_snr_db: float | None = None
    snr_db: tuple[float, ...] = ()
    capacity_bytes: int | None = None
    source: CsiSource | None = None


@dataclass(frozen=True, slots=True)
class LinkReport:
    """A receiver's estimate of the link, from the packets that arrived and those that did not.

    receiver/link_estimation.py makes it.

    Attributes:
        packets: number of packets that the estimate is based on, 1 or more, lost ones included.
        lost: number of those packets that did not arrive, or arrived with a wrong checksum.
        mean_burst_packets: mean length of a run of lost packets, 1 or more; 0 if no packet was lost.
        effective_snr_db: SNR in dB at which BPSK over white noise would lose the same share of packets of these
            lengths. None if no packet was lost, if all were, if bit errors cannot explain the loss, or if the SNR is
            outside the range of a report (gocom.common.wire.feedback).
    """

    packets: int
    lost: int
    mean_burst_packets: float = 0.0
    effective_snr_db: float | None = None
