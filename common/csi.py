"""What one end knows of the channel, and what the other one says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CsiKind(str, Enum):
    """What is known of a channel: what holds in the long run, or also the SNR of each packet of a round."""

    STATISTICAL = "statistical"
    INSTANTANEOUS = "instantaneous"


class CsiSource(str, Enum):
    """Who says so: the emulator, which knows, or the receiver, which estimates."""

    EMULATOR = "emulator"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True)
class Csi:
    """Channel state as the transmitter knows it.

    Attributes:
        packet_erasure_rate: long-run share of packets that do not arrive, in [0, 1].
        bit_error_rate: long-run share of bits flipped in what is delivered, in [0, 0.5].
        mean_burst_packets: mean length of a run of lost packets, 1 or more, inf where all are lost.
        mean_snr_db: from the emulator, mean SNR of a packet of power 1, Es/N0 in dB; from the receiver, the SNR at
            which BPSK over white noise would lose as many. None: unknown, as where nothing fades.
        threshold_snr_db: SNR in dB at which half of the packets are lost without fading; None: unknown.
        snr_db: SNR in dB at power 1 of each packet of the round, by sequence number; empty: unknown. A round with more
            packets has some of which nothing is known.
        source: who says so; None: nobody, and the rest is a perfect channel.
    """

    packet_erasure_rate: float = 0.0
    bit_error_rate: float = 0.0
    mean_burst_packets: float = 1.0
    mean_snr_db: float | None = None
    threshold_snr_db: float | None = None
    snr_db: tuple[float, ...] = ()
    source: CsiSource | None = None


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What a receiver saw of the link: an estimate, see receiver/link_estimation.py.

    Attributes:
        packets: it goes by so many, 1 or more, those that did not arrive included.
        lost: how many of them did not arrive, or not whole.
        mean_burst_packets: mean length of a run of those, 1 or more; 0: there was none.
        effective_snr_db: SNR at which BPSK over white noise would lose as many packets of these lengths; None: none
            would, or all, or bit errors cannot lose so many.
    """

    packets: int
    lost: int
    mean_burst_packets: float = 0.0
    effective_snr_db: float | None = None
