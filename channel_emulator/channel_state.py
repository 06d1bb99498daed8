"""What may be known of a channel before packets go over it: channel state information.

    statistical      rates and burst length in the long run, mean SNR, and the SNR at which half of the packets are lost
    instantaneous    that, and the SNR of each packet of a round to come:

    gain h of packet s, as the fault will draw it --+-- error e --> h + e --delay--> |h + e|^2 * snr of packet s + age

The gains are those of the streams that the round will meet: what is said without delay and error is what happens. An
estimate is made once a packet, from a pilot as it were: h + e with e ~ CN(0, nmse) against E|h|^2 = 1, independent from
packet to packet also where they share a gain. It is as often above as below in each part, so its power is too high by
nmse in the mean.

Of packet s a delayed estimate says what was true of packet s - age. Before the first packet of a round there was
another round, whose gains are independent of this one's; for s < age they are drawn from a stream of their own.
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
from gocom.common.csi import Csi, CsiKind, CsiSource
from gocom.common.errors import InvalidInput
from gocom.common.types import MAX_PAYLOAD_BYTES, Ints
from gocom.common.wire.enums import enum_to_name
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]

MAX_PACKETS = MAX_AGE = 1 << 16
_LEAST_DB, _MOST_DB = -100.0, 100.0
"""Between these the threshold is looked for."""
_HALVINGS = 60
_KIND = channel_pb2.CsiKind.DESCRIPTOR
_LEAST_GAIN = 1e-30
"""So that a gain of 0 has an SNR in dB."""


@dataclass(frozen=True, slots=True)
class Instant:
    """Of which packets the state is asked for, and how well it is known.

    Attributes:
        frame_index: frame.
        round: of the frame.
        packets: the first so many of the round, 1 to 65536.
        age_packets: the estimates are so many packets old, 0 to 65536.
        nmse_db: mean squared error of the gains over their mean power, -60 to 20 dB; None: no error.

    Raises:
        InvalidInput: a value out of range.
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


def read_instant(request: channel_pb2.GetChannelStateRequest) -> Instant | None:
    """What a request asks for; None: statistical. Raises InvalidInput, also for what its kind has no use for."""
    kind = enum_to_name(_KIND, request.kind, "kind") or CsiKind.STATISTICAL
    if kind == CsiKind.STATISTICAL:
        for field, _ in request.ListFields():
            if field.name not in ("kind", "payload_bytes"):
                raise InvalidInput(f"{field.name}: is for kind instantaneous, and this is {CsiKind.STATISTICAL.value}")
        return None
    nmse_db = request.nmse_db if request.HasField("nmse_db") else None
    return Instant(request.frame_index, request.round, request.packets, request.age_packets, nmse_db)


def state_of(chain: Chain, payload_bytes: int, instant: Instant | None = None, stream: str = "") -> Csi:
    """The state of a chain for packets of power 1; the same answer every time.

    Where several faults fade, SNRs are those of the first of them: there is no one SNR of links in a row. The rates are
    of the whole chain.

    Args:
        chain: the channel.
        payload_bytes: of each packet, 1 to 65000.
        instant: None: statistical.
        stream: of the round's RoundImpairer; instantaneous state of another hop is that of other gains.

    Raises:
        InvalidInput: a size out of range.
    """
    check_range("payload_bytes", payload_bytes, 1, MAX_PAYLOAD_BYTES)
    csi = replace(chain.csi(payload_bytes), source=CsiSource.EMULATOR)
    for position, link in enumerate(chain.links):
        if isinstance(link.fault, FadingFault):
            threshold = threshold_snr_db(link.fault, 8 * payload_bytes)
            csi = replace(csi, mean_snr_db=link.fault.snr_db, threshold_snr_db=threshold)
            if instant is None:
                return csi
            # The very numbers that the faults of the round will have.
            rng = chain.impairer(FrameInfo(instant.frame_index, instant.round), stream=stream).rngs[position]
            power = np.abs(estimated_gains(link.fault, rng, instant)) ** 2
            snr_db = 10 * np.log10(np.maximum(power, _LEAST_GAIN)) + link.fault.snr_db
            # Single precision, as on the wire: a codec that adapts does the same in one process and in three.
            return replace(csi, snr_db=tuple(snr_db.astype(np.float32).tolist()))
    return csi


def estimated_gains(fault: FadingFault, rng: CounterRng, instant: Instant) -> npt.NDArray[np.complex128]:
    """complex128 [packets]: h + e as it is known of each packet, E|h|^2 = 1; `rng`: the fault's own of that round."""
    was = np.arange(instant.packets) - instant.age_packets
    known = fault.gains(np.maximum(was, 0), rng)
    before = was < 0
    if before.any():
        known[before] = fault.gains(was[before] + MAX_AGE, rng.sub("stale"))
    if instant.nmse_db is not None:
        known += 10 ** (instant.nmse_db / 20) * _unit_errors(was + MAX_AGE, rng.sub("estimate"))
    return known


def _unit_errors(number: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
    """complex128 [P]: CN(0, 1), of int64 [P]; the same number, the same error, whatever the age it is told at."""
    u = rng.uniforms(number, 0, 1)
    errors: npt.NDArray[np.complex128] = np.sqrt(-np.log(1 - u[:, 0])) * np.exp(2j * np.pi * u[:, 1])
    return errors


@lru_cache(maxsize=256)
def threshold_snr_db(fault: FadingFault, bits: int) -> float:
    """SNR in dB at which half of the packets of so many bits have an error, without fading; -100 or more.

    With damage=deliver they arrive all the same.
    """

    def fails(snr_db: float) -> bool:
        return bool(fault.packet_error_rate(bits, np.array([10 ** (snr_db / 10)]))[0] >= 0.5)

    low, high = _LEAST_DB, _MOST_DB
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    return high
