"""A chain of faults, built from a channel profile: the channel as a function of (frame header, packets).

    profile --validate--> Chain;  batch --fault 0--> --fault 1--> ... --> batch with `erased` set

Fault i draws from the random stream "i:name" of the profile's seed, at (frame index, round, sequence number). In an
emulator behind H others the stream is "hop H/i:name": two hops with the same seed must not lose the same packets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng
from gocom.channel_emulator.fault_bases.fault import EventCounts, Fault, FrameInfo, Tally, WholeRoundFault
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch, TimedFault, join_timed_batches
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.channel_spec import MAX_IMPAIRMENTS, PRESETS
from gocom.common.csi import DEFAULT_OUTAGE_TARGET, Csi
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKETS
from gocom.common.types import Bools, FrameHeader
from gocom.common.wire.frame_messages import EXTENSION
from gocom.v1 import channel_pb2

_CHUNK_BYTES = 1 << 18
"""Payload bytes impaired together; bounds memory: drawing a flip takes some 40 bytes, and half of all bits may flip."""


def frame_info(header: FrameHeader) -> FrameInfo:
    """Return what the channel may know of a frame of any codec."""
    segments = header.segments
    ends = tuple(accumulate(segment.packets for segment in segments))
    return FrameInfo(header.frame_index, header.round, tuple(s.damage_tolerant for s in segments), ends)


@dataclass(frozen=True, slots=True)
class NamedFault:
    """A fault of a chain with its name, which appears in reports and in the name of its random stream."""

    name: str
    fault: Fault


class Chain:
    """Faults applied in order. Immutable; threads and sessions can share it.

    Args:
        faults: the faults, in the order in which packets meet them.
        seed: seed of all randomness, 0 to 2**64 - 1.

    Attributes:
        timed: whether a fault delays, reorders or duplicates packets; such a chain is applied with
            RoundImpairer.apply_timed.
        needs_whole_round: whether all packets of a round must be impaired in one call.
    """

    def __init__(self, faults: Sequence[NamedFault], seed: int = 0) -> None:
        self.faults = tuple(faults)
        self.seed = seed
        self.timed = any(isinstance(named.fault, TimedFault) for named in self.faults)
        self.needs_whole_round = any(_is_held(named.fault) for named in self.faults)

    @classmethod
    def from_profile(cls, profile: channel_pb2.ChannelProfile) -> Chain:
        """Build a chain from a profile.

        Raises:
            InvalidInput: a parameter is out of range; the message names the field.
            UnknownName: a fault is not registered.
        """
        if len(profile.impairments) > MAX_IMPAIRMENTS:
            raise InvalidInput(f"impairments: {len(profile.impairments)}, more than {MAX_IMPAIRMENTS}")
        return cls([_named_fault(i, impairment) for i, impairment in enumerate(profile.impairments)], profile.seed)

    def __call__(self, header: FrameHeader, batch: PacketBatch) -> PacketBatch:
        """Apply the channel to all packets of a round, for an in-process pipeline.
         A chain that is not timed returns all packets, with `erased` set and payloads damaged. A timed chain returns
        the packets that arrive, in order of arrival and with all copies; their arrival times are not returned.
        """
        if not self.timed:
            return self.apply(batch, frame_info(header))
        check_sequence(batch)
        return self.impairer(frame_info(header)).apply_timed(batch).in_arrival_order()

    def apply(self, batch: PacketBatch, frame: FrameInfo) -> PacketBatch:
        """Impair some packets of a frame. For several batches of one round, RoundImpairer.apply is faster.

        If the chain needs whole rounds, the packets are taken to be a whole round.

        Raises:
            InvalidInput: a sequence number is out of range.
        """
        check_sequence(batch)
        return self.impairer(frame).apply(batch)

    def impairer(
        self, frame: FrameInfo, model: Chain | None = None, stream: str = "", *, copies: bool = False
    ) -> RoundImpairer:
        """Return a RoundImpairer for the batches of one round of a frame; see there for the arguments."""
        return RoundImpairer(self, frame, model or self, stream, copies=copies)

    def csi(self, payload_bytes: int, outage_target: float = DEFAULT_OUTAGE_TARGET) -> Csi:
        """Return the long-run channel state for payloads of this size, without SNR and capacity.

        The faults are independent of each other, so the values are exact.

        Args:
            payload_bytes: payload size of each packet.
            outage_target: a fault whose rate follows from the size of a round is taken as it acts in rounds that are
                filled to its capacity at this probability of outage.
        """
        bits, faults = 8 * payload_bytes, [_filled(named.fault, payload_bytes, outage_target) for named in self.faults]
        rates = [fault.packet_erasure_rate(bits) for fault in faults]
        pairs = [fault.pair_erasure_rate(bits) for fault in faults]
        rate = 1 - math.prod(1 - q for q in rates)
        pair = 1 - 2 * (1 - rate) + math.prod(1 - 2 * q + both for q, both in zip(rates, pairs, strict=True))
        bit_error_rate = _combined_bit_error_rate(fault.bit_error_rate for fault in faults)
        return Csi(rate, bit_error_rate, _mean_burst(rate, pair))


class RoundImpairer:
    """The state of a chain while one round passes through it; random numbers are cached from batch to batch.

    One thread at a time may use it.

    Args:
        chain: the faults.
        frame: what the faults may know of the frame.
        model: the chain whose closed forms the counts are compared with. It has the same kinds of faults; tests pass
            another chain to check that a wrong model is detected.
        stream: prefix of the names of the random streams; packets under another prefix are impaired independently.
        copies: whether an earlier hop may have duplicated packets; sequence numbers are below MAX_PACKETS in that case.

    Attributes:
        rngs: the random number generator of each fault.
    """

    def __init__(self, chain: Chain, frame: FrameInfo, model: Chain, stream: str = "", *, copies: bool = False) -> None:
        self._faults = [named.fault.for_frame(frame) for named in chain.faults]
        self._frame = frame
        self.rngs = [
            CachedRng(chain.seed, f"{stream}{position}:{named.name}", frame.frame_index, frame.round)
            for position, named in enumerate(chain.faults)
        ]
        self._tallies = [named.fault.for_frame(frame).tally() for named in model.faults]
        self._seen = np.zeros(MAX_PACKETS if copies else 0, bool)

    def work(self, batch: PacketBatch) -> float:
        """Return about how many random numbers `apply` will draw; infinity if a fault does not tell."""
        return sum(fault.work(batch) for fault in self._faults)

    def apply(self, batch: PacketBatch) -> PacketBatch:
        """Impair some packets of the round; the caller has checked their sequence numbers with check_sequence.

        If the chain needs whole rounds, they are all packets of the round.
        """
        return self.apply_each([batch])[0]

    def apply_timed(self, batch: PacketBatch) -> TimedBatch:
        """Impair packets like `apply`, and return their departure times, their order and their copies as well."""
        return self.apply_timed_each([batch])[0]

    def apply_each(self, batches: Sequence[PacketBatch]) -> list[PacketBatch]:
        """Impair packets like `apply`, which come in several batches, and return them in the same batches."""
        if len(batches) == 1 and len(batches[0].payload) <= _CHUNK_BYTES:  # nearly always, in an emulator
            return self._apply([batches[0]])
        chunks = [_chunks(batch) for batch in batches]
        impaired = iter(self._apply([chunk for each in chunks for chunk in each]))
        return [join_batches(list(islice(impaired, len(each)))) for each in chunks]

    def apply_timed_each(self, batches: Sequence[PacketBatch]) -> list[TimedBatch]:
        """Impair packets like `apply_timed`, which come in several batches, and return them in the same batches."""
        chunks = [_chunks(batch) for batch in batches]
        impaired = iter(self._apply_timed([TimedBatch.of(chunk) for each in chunks for chunk in each]))
        return [join_timed_batches(list(islice(impaired, len(each)))) for each in chunks]

    def event_counts(self) -> list[EventCounts]:
        """Return, for each fault, the events counted so far and those that its closed form expects."""
        return [tally.event_counts() for tally in self._tallies]

    def _apply(self, parts: list[PacketBatch]) -> list[PacketBatch]:
        """Impair the parts in place of those in the list, and return the list."""
        first_copies = [self._first_copies(part) for part in parts]
        for fault, rng, tally in zip(self._faults, self.rngs, self._tallies, strict=True):
            if _is_held(fault):
                _begin_round(fault, parts, rng)
            for index, part in enumerate(parts):
                drawn = fault.draw(part, rng)
                _count(tally, fault, rng, part, drawn, first_copies[index])
                parts[index] = fault.apply(part, drawn, self._frame)
        return parts

    def _apply_timed(self, parts: list[TimedBatch]) -> list[TimedBatch]:
        first_copies = [self._first_copies(part.batch) for part in parts]
        for fault, rng, tally in zip(self._faults, self.rngs, self._tallies, strict=True):
            if _is_held(fault):
                _begin_round(fault, [part.batch for part in parts], rng)
            for index, part in enumerate(parts):
                drawn = fault.draw(part.batch, rng)
                _count(tally, fault, rng, part.batch, drawn, first_copies[index])
                if isinstance(fault, TimedFault):
                    part = fault.apply_timed(part, drawn)
                parts[index] = replace(part, batch=fault.apply(part.batch, drawn, self._frame))
        return parts

    def _first_copies(self, batch: PacketBatch) -> Bools | None:
        """Return bool [P], True for the first copy of each packet; None if there are no other copies."""
        if not len(self._seen):
            return None
        first = np.zeros(len(batch), bool)
        first[np.unique(batch.sequence, return_index=True)[1]] = True
        first_copies: Bools = first & ~self._seen[batch.sequence]
        self._seen[batch.sequence] = True
        return None if bool(first_copies.all()) else first_copies


def _is_held(fault: Fault) -> TypeGuard[WholeRoundFault]:
    """Return whether a fault needs whole rounds."""
    return isinstance(fault, WholeRoundFault) and fault.needs_whole_round


def _begin_round(fault: WholeRoundFault, batches: Sequence[PacketBatch], rng: CachedRng) -> None:
    """Tell a fault of all packets of the round, those that an earlier fault erased left out."""
    assert not rng.fault_state, "a chain that needs whole rounds gets each in one call"
    sequences, lengths = ([getattr(part, name)[~part.erased] for part in batches] for name in ("sequence", "length"))
    fault.begin_round(np.concatenate(sequences), np.concatenate(lengths), rng)


def _filled(fault: Fault, payload_bytes: int, outage_target: float) -> Fault:
    """Return a fault as it acts in rounds that are filled to its capacity, if it has one."""
    capacity = fault.capacity_bytes(payload_bytes, outage_target)
    return fault if capacity is None else fault.filled_to(capacity)


def _count(
    tally: Tally,
    fault: Fault,
    rng: CachedRng,
    batch: PacketBatch,
    drawn: npt.NDArray[Any],
    first_copies: Bools | None,
) -> None:
    """Count a draw. Copies share the fate of the first copy, so most faults do not count them as trials."""
    if first_copies is None or fault.counts_copies:
        tally.add(batch, drawn)
    else:
        without_copies = batch.select(first_copies)
        tally.add(without_copies, fault.draw(without_copies, rng))


def check_sequence(batch: PacketBatch) -> None:
    """Raise InvalidInput unless all sequence numbers are in 0 to MAX_ELEMENTS - 1."""
    if len(batch) and not 0 <= int(batch.sequence.min()) <= int(batch.sequence.max()) < MAX_ELEMENTS:
        raise InvalidInput(f"batch.sequence: {int(batch.sequence.max())} is not in 0 to {MAX_ELEMENTS - 1}")


def _chunks(batch: PacketBatch) -> list[PacketBatch]:
    """Return the packets in order, in chunks whose payloads end within the same _CHUNK_BYTES."""
    if len(batch.payload) <= _CHUNK_BYTES:
        return [batch]
    chunk = np.cumsum(batch.length) // _CHUNK_BYTES
    return [batch.select(chunk == number) for number in np.unique(chunk)]


def _mean_burst(rate: float, pair: float) -> float:
    """Return the mean length of a run of erasures, PLR / (PLR - P11); 1 if nothing is erased, inf if everything is."""
    if rate == 0:
        return 1.0
    # If a chain hardly ever changes state, rounding can make the difference 0, or the quotient less than one packet.
    return max(1.0, rate / (rate - pair)) if pair < rate < 1 else math.inf


def _combined_bit_error_rate(rates: Iterable[float]) -> float:
    """Return the bit error rate of binary symmetric channels in series: a bit is wrong after an odd number of flips."""
    return (1 - math.prod(1 - 2 * rate for rate in rates)) / 2


def _named_fault(position: int, impairment: channel_pb2.Impairment) -> NamedFault:
    """Build a fault from its message; the messages of errors begin with its position in the profile."""
    case = impairment.WhichOneof("kind")
    where = f"impairments[{position}]"
    if case is None:
        # An impairment of a newer protocol version also looks like this.
        raise UnknownName(f"{where}.kind", "(none)", IMPAIRMENTS)
    extended = case == EXTENSION
    name = impairment.extension.name if extended else case
    if name not in IMPAIRMENTS:
        # A preset stands for a whole profile. The name may be a mistyped preset, so they are listed as well.
        bare = extended and not impairment.extension.parameters
        raise UnknownName(where, name, {*IMPAIRMENTS, *PRESETS} if bare else IMPAIRMENTS)
    fault = IMPAIRMENTS.get(name)
    try:
        if extended:
            return NamedFault(name, fault.build(dict(impairment.extension.parameters)))
        return NamedFault(name, fault.from_message(getattr(impairment, case)))
    except InvalidInput as error:
        path = f"{where}.extension.parameters" if extended else f"{where}.{case}"
        raise InvalidInput(f"{path}.{error}") from None
