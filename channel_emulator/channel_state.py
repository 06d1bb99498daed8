"""Channel state information: what a transmitter may know of the channel before it sends packets.

    statistical      long-run erasure rate, bit error rate and burst length, mean SNR, the SNR at which half of the
                     packets are lost, and the capacity of a round
    instantaneous    the same, with the capacity for the gains of a future round, and the SNR of each of its packets:

    gain h of packet s, as the fault will draw it --+-- error e --> h + e --delay--> |h + e|^2 * snr of packet s + age

The gains come from the random streams that the round will use, so an estimate without delay and error is exact. There
is one estimate per packet, as if made from a pilot symbol: h + e with e ~ CN(0, nmse), where E|h|^2 = 1. The errors are
independent from packet to packet, even if packets share a gain. The error has zero mean, so the estimated power exceeds
the true power by nmse on average.

A delayed estimate for packet s is that of packet s - age. The packets before the first one of a round belong to another
round, whose gains are independent; for s < age the gains are therefore drawn from a separate random stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import FrameInfo, check_range
from gocom.common.counter_rng import CounterRng
from gocom.common.csi import DEFAULT_OUTAGE_TARGET, Csi, CsiKind, CsiSource
from gocom.common.errors import InvalidInput
from gocom.common.types import MAX_PAYLOAD_BYTES, Ints
from gocom.common.wire.enums import enum_to_name
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]

MAX_PACKETS = MAX_AGE = 1 << 16
_MIN_DB, _MAX_DB = -100.0, 100.0
"""Range of the search for the threshold SNR."""
_BISECTION_STEPS = 60
_KIND = channel_pb2.CsiKind.DESCRIPTOR
_MIN_SNR = 1e-30
"""Smallest linear SNR that is converted to dB; avoids the logarithm of 0."""


@dataclass(frozen=True, slots=True)
class InstantaneousCsiQuery:
    """A query for the instantaneous state: the packets in question and the quality of the estimates.

    Attributes:
        frame_index: index of the frame.
        round: round of the frame.
        packets: number of packets, from the first of the round on, 1 to 65536.
        age_packets: age of the estimates in packets, 0 to 65536.
        nmse_db: mean squared error of the gains over their mean power, -60 to 20 dB; None: the estimates have no error.

    Raises:
        InvalidInput: a value is out of range.
    """

    frame_index: int = 0
    round: int = 0
    packets: int = 1
    age_packets: int = 0
    nmse_db: float | None = None

    def __post_init__(self) -> None:
        check_range("packets", self.packets, 1, MAX_PACKETS)
        check_range("age_packets", self.age_packets, 0, MAX_AGE)
        if self.nmse_db is not None:
            check_range("nmse_db", self.nmse_db, -60, 20)


def read_csi_query(request: channel_pb2.GetChannelStateRequest) -> InstantaneousCsiQuery | None:
    """Return the query of a request; None if it asks for the statistical state.

    Raises:
        InvalidInput: a value is out of range, or a field is set that this kind of state does not use.
    """
    kind = enum_to_name(_KIND, request.kind, "kind") or CsiKind.STATISTICAL
    if kind == CsiKind.STATISTICAL:
        for field, _ in request.ListFields():
            if field.name not in ("kind", "payload_bytes", "outage_target"):
                raise InvalidInput(f"{field.name}: is for kind instantaneous, and this is {CsiKind.STATISTICAL.value}")
        return None
    nmse_db = request.nmse_db if request.HasField("nmse_db") else None
    return InstantaneousCsiQuery(request.frame_index, request.round, request.packets, request.age_packets, nmse_db)


def compute_csi(
    chain: Chain,
    payload_bytes: int,
    query: InstantaneousCsiQuery | None = None,
    stream: str = "",
    outage_target: float = DEFAULT_OUTAGE_TARGET,
) -> Csi:
    """Return the state of a channel for packets of power 1: erasure and bit error rates, capacity, SNRs if it fades.

    The rates are those of all faults together, and the capacity is the smallest one of all faults. The SNRs are those
    of the first fault that fades: several links in series have no SNR in common. Equal arguments give equal results.

    Args:
        chain: the channel.
        payload_bytes: payload size of each packet, 1 to 65000.
        query: the packets whose instantaneous state is wanted; None: the statistical state.
        stream: prefix of the names of the random streams. The packets of the round are impaired with the same one (see
            RoundImpairer), so the gains are those that they will meet; each emulator in a row has another prefix.
        outage_target: probability of an outage that the capacity allows, above 0, below 1. A fault whose code rate
            follows from the round is taken as it acts in a round that is filled to its capacity.

    Raises:
        InvalidInput: the payload size or the outage target is out of range.
    """
    check_range("payload_bytes", payload_bytes, 1, MAX_PAYLOAD_BYTES)
    if not 0 < outage_target < 1:
        raise InvalidInput(f"outage_target: {outage_target!r} is not between 0 and 1")
    csi = replace(chain.csi(payload_bytes, outage_target), source=CsiSource.EMULATOR)
    capacities: list[int] = []
    for position, named in enumerate(chain.faults):
        fault, snr = named.fault, None
        if (
            isinstance(fault, FadingFault)
            and query is not None
            and (csi.mean_snr_db is None or fault.needs_whole_round)
        ):
            # The random numbers that the fault will draw in this round.
            rng = chain.impairer(FrameInfo(query.frame_index, query.round), stream=stream).rngs[position]
            snr = np.abs(estimated_gains(fault, rng, query)) ** 2 * fault.snr
        capacity = fault.capacity_bytes(payload_bytes, outage_target, snr)
        if capacity is not None:
            capacities.append(capacity)
            fault = fault.filled_to(capacity)
        if isinstance(fault, FadingFault) and csi.mean_snr_db is None:
            threshold = threshold_snr_db(fault, 8 * payload_bytes)
            csi = replace(csi, mean_snr_db=fault.snr_db, threshold_snr_db=threshold, snr_db=_in_db(snr))
    return replace(csi, capacity_bytes=min(capacities, default=None))


def _in_db(snr: Doubles | None) -> tuple[float, ...]:
    """Return linear SNRs, float64 [P], in dB; empty if they are unknown.

    In single precision, as on the wire: codecs adapt in the same way in one process and across services.
    """
    if snr is None:
        return ()
    snr_db: list[float] = (10 * np.log10(np.maximum(snr, _MIN_SNR))).astype(np.float32).tolist()
    return tuple(snr_db)


def estimated_gains(fault: FadingFault, rng: CounterRng, query: InstantaneousCsiQuery) -> npt.NDArray[np.complex128]:
    """Return the estimated gain h + e of each packet, complex128 [packets], E|h|^2 = 1.

    Args:
        fault: the fading fault.
        rng: the random number generator that the fault uses in this round.
        query: the packets and the quality of the estimates.
    """
    observed = np.arange(query.packets) - query.age_packets
    estimates = fault.gains(np.maximum(observed, 0), rng)
    previous_round = observed < 0
    if previous_round.any():
        estimates[previous_round] = fault.gains(observed[previous_round] + MAX_AGE, rng.substream("stale"))
    if query.nmse_db is not None:
        estimates += 10 ** (query.nmse_db / 20) * _unit_errors(observed + MAX_AGE, rng.substream("estimate"))
    return estimates


def _unit_errors(packet: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
    """Return one error ~ CN(0, 1) per packet number int64 [P], complex128 [P]; it does not depend on the age."""
    u = rng.uniform_blocks(packet, 0, 1)
    errors: npt.NDArray[np.complex128] = np.sqrt(-np.log(1 - u[:, 0])) * np.exp(2j * np.pi * u[:, 1])
    return errors


@lru_cache(maxsize=256)
def threshold_snr_db(fault: FadingFault, bits: int) -> float:
    """Return the SNR in dB, -100 to 100, at which half of the packets of this many bits have an error, without fading.

    With damage=deliver the packets with an error arrive all the same.
    """

    def fails(snr_db: float) -> bool:
        return bool(fault.packet_error_rate(bits, np.array([10 ** (snr_db / 10)]))[0] >= 0.5)

    low, high = _MIN_DB, _MAX_DB
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    return high
