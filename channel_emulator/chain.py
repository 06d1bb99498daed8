"""Faults in a row, from a profile; the channel as a function of (frame header, packets).

    profile --validate--> Chain;  batch --fault 0--> --fault 1--> ... --> batch with `erased` set

Fault i draws from the stream "i:name" of the profile's seed, at (frame index, round, sequence number). An emulator
behind others draws from "hop H/i:name": else two hops of the same seed would lose the same packets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo, Score, Tally
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch, TimedFault, join_timed_batches
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.channel_spec import MAX_IMPAIRMENTS, PRESETS
from gocom.common.csi import Csi
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKETS
from gocom.common.types import Bools, FrameHeader
from gocom.common.wire.messages import EXTENSION
from gocom.v1 import channel_pb2, link_pb2

_QUOTED = 80
"""Characters of a name that an error repeats."""
_PIECE_BYTES = 1 << 18
"""Payload bytes impaired together: a flip takes some 40 bytes while it is drawn, and half of all bits may flip."""


def frame_info(header: FrameHeader | link_pb2.FrameHeader) -> FrameInfo:
    """What the channel may know of a frame; any codec's, also one this process has never heard of."""
    return FrameInfo(header.frame_index, header.round, tuple(s.damage_tolerant for s in header.segments))


@dataclass(frozen=True, slots=True)
class Link:
    """One fault of a chain: its name, for people and for its random stream, and itself."""

    name: str
    fault: Fault


class Chain:
    """Faults applied in order. Immutable, and the same for every thread and session.

    Attributes:
        timed: it has faults of time, order or number, so that packets leave as RoundImpairer.apply_timed says.

    Args:
        links: the faults.
        seed: of their randomness, 0 to 2**64 - 1.
    """

    def __init__(self, links: Sequence[Link], seed: int = 0) -> None:
        self.links = tuple(links)
        self.seed = seed
        self.timed = any(isinstance(link.fault, TimedFault) for link in self.links)

    @classmethod
    def from_profile(cls, profile: channel_pb2.ChannelProfile) -> Chain:
        """Validate and build. Raises InvalidInput naming the field, UnknownName for a fault that is not registered."""
        if len(profile.impairments) > MAX_IMPAIRMENTS:
            raise InvalidInput(f"impairments: {len(profile.impairments)}, more than {MAX_IMPAIRMENTS}")
        return cls([_build(i, impairment) for i, impairment in enumerate(profile.impairments)], profile.seed)

    def __call__(self, header: FrameHeader, batch: PacketBatch) -> PacketBatch:
        """The channel of an in-process pipeline: all packets of a round, with `erased` set and payloads damaged.

        Of a timed chain what arrives, in order and as often as it does; the time itself is no matter here.
        """
        if not self.timed:
            return self.apply(batch, frame_info(header))
        check_sequence(batch)
        return self.impairer(frame_info(header)).apply_timed(batch).arranged()

    def apply(self, batch: PacketBatch, frame: FrameInfo) -> PacketBatch:
        """Impair some packets of a frame; see RoundImpairer.apply, which is quicker for several batches of one round.

        Raises:
            InvalidInput: a sequence number that no frame can have.
        """
        check_sequence(batch)
        return self.impairer(frame).apply(batch)

    def impairer(
        self, frame: FrameInfo, model: Chain | None = None, stream: str = "", *, copies: bool = False
    ) -> RoundImpairer:
        """For the batches of one round of a frame; see RoundImpairer."""
        return RoundImpairer(self, frame, model or self, stream, copies=copies)

    def csi(self, payload_bytes: int) -> Csi:
        """Long-run state for payloads of this size. The faults are independent of each other, so this is exact."""
        bits = 8 * payload_bytes
        rates = [link.fault.packet_erasure_rate(bits) for link in self.links]
        pairs = [link.fault.pair_erasure_rate(bits) for link in self.links]
        rate = 1 - math.prod(1 - q for q in rates)
        pair = 1 - 2 * (1 - rate) + math.prod(1 - 2 * q + both for q, both in zip(rates, pairs, strict=True))
        return Csi(rate, _flipped(link.fault.bit_error_rate for link in self.links), _mean_burst(rate, pair))


class RoundImpairer:
    """One round on its way through a chain; keeps random numbers from batch to batch. For one thread at a time.

    Attributes:
        rngs: of each fault.

    Args:
        chain: the faults.
        frame: what they may know.
        model: what the counts are compared with: faults of the same kinds, in another chain where a test wants to see
            that a wrong model shows.
        stream: begins the names of the faults' random streams; packets of another stream meet other fates.
        copies: packets may come more than once, copied by an earlier hop; sequence numbers are below MAX_PACKETS then.
    """

    def __init__(self, chain: Chain, frame: FrameInfo, model: Chain, stream: str = "", *, copies: bool = False) -> None:
        self._links = chain.links
        self._frame = frame
        self.rngs = [
            CachedRng(chain.seed, f"{stream}{position}:{link.name}", frame.frame_index, frame.round)
            for position, link in enumerate(chain.links)
        ]
        self._tallies = [link.fault.tally() for link in model.links]
        self._came = np.zeros(MAX_PACKETS if copies else 0, bool)

    def work(self, batch: PacketBatch) -> float:
        """About how many random numbers `apply` will draw; infinite where a fault does not say."""
        return sum(link.fault.work(batch) for link in self._links)

    def apply(self, batch: PacketBatch) -> PacketBatch:
        """Impair some packets of the round; their sequence numbers must be such as a frame can have."""
        if len(batch.payload) <= _PIECE_BYTES:
            return self._apply(batch)
        return join_batches([self._apply(piece) for piece in _pieces(batch)])

    def apply_timed(self, batch: PacketBatch) -> TimedBatch:
        """As apply, with when packets leave, in which order, and how often."""
        pieces = [batch] if len(batch.payload) <= _PIECE_BYTES else _pieces(batch)
        return join_timed_batches([self._apply_timed(TimedBatch.of(piece)) for piece in pieces])

    def scores(self) -> list[Score]:
        """Of each fault, what it did to the packets so far beside what it should have done."""
        return [tally.score() for tally in self._tallies]

    def _apply(self, batch: PacketBatch) -> PacketBatch:
        new = self._new(batch)
        for link, rng, tally in zip(self._links, self.rngs, self._tallies, strict=True):
            drawn = link.fault.draw(batch, rng)
            _count(tally, link.fault, rng, batch, drawn, new)
            batch = link.fault.apply(batch, drawn, self._frame)
        return batch

    def _apply_timed(self, timed_batch: TimedBatch) -> TimedBatch:
        new = self._new(timed_batch.batch)
        for link, rng, tally in zip(self._links, self.rngs, self._tallies, strict=True):
            drawn = link.fault.draw(timed_batch.batch, rng)
            _count(tally, link.fault, rng, timed_batch.batch, drawn, new)
            if isinstance(link.fault, TimedFault):
                timed_batch = link.fault.apply_timed(timed_batch, drawn)
            timed_batch = replace(timed_batch, batch=link.fault.apply(timed_batch.batch, drawn, self._frame))
        return timed_batch

    def _new(self, batch: PacketBatch) -> Bools | None:
        """bool [P]: the packets that are no copies; None: all of them."""
        if not len(self._came):
            return None
        first = np.zeros(len(batch), bool)
        first[np.unique(batch.sequence, return_index=True)[1]] = True
        new: Bools = first & ~self._came[batch.sequence]
        self._came[batch.sequence] = True
        return None if bool(new.all()) else new


def _count(
    tally: Tally, fault: Fault, rng: CachedRng, batch: PacketBatch, drawn: npt.NDArray[Any], new: Bools | None
) -> None:
    """Copies meet the fate of their packet: they are no further trials."""
    if new is None or fault.counts_copies:
        tally.add(batch, drawn)
    else:
        once = batch.select(new)
        tally.add(once, fault.draw(once, rng))


def check_sequence(batch: PacketBatch) -> None:
    """Raises InvalidInput for a sequence number that no frame can have."""
    if len(batch) and not 0 <= int(batch.sequence.min()) <= int(batch.sequence.max()) < MAX_ELEMENTS:
        raise InvalidInput(f"batch.sequence: {int(batch.sequence.max())} is not in 0 to {MAX_ELEMENTS - 1}")


def _pieces(batch: PacketBatch) -> Iterator[PacketBatch]:
    """Packets in order, those together whose payloads end within the same _PIECE_BYTES."""
    piece = np.cumsum(batch.length) // _PIECE_BYTES
    for number in np.unique(piece):
        yield batch.select(piece == number)


def _mean_burst(rate: float, pair: float) -> float:
    """Mean length of a run of erasures, PLR / (PLR - P11); 1 when nothing is erased, inf when everything is."""
    if rate == 0:
        return 1.0
    # Of a chain that hardly ever moves the difference is lost in rounding, which can also take a run below one packet.
    return max(1.0, rate / (rate - pair)) if pair < rate < 1 else math.inf


def _flipped(rates: Iterable[float]) -> float:
    """Bit error rate of binary symmetric channels in a row: a bit is wrong after an odd number of flips."""
    return (1 - math.prod(1 - 2 * rate for rate in rates)) / 2


def _build(position: int, impairment: channel_pb2.Impairment) -> Link:
    """One fault from its message, its errors prefixed with where it stands in the profile."""
    case = impairment.WhichOneof("kind")
    where = f"impairments[{position}]"
    if case is None:
        # Also what an impairment of a newer protocol looks like here.
        raise UnknownName(f"{where}.kind", "(none)", IMPAIRMENTS)
    extended = case == EXTENSION
    name = impairment.extension.name if extended else case
    if name not in IMPAIRMENTS:
        # A preset stands for a whole profile; who mistyped one should see them here.
        bare = extended and not impairment.extension.parameters
        raise UnknownName(where, name[:_QUOTED], {*IMPAIRMENTS, *PRESETS} if bare else IMPAIRMENTS)
    fault = IMPAIRMENTS.get(name)
    try:
        if extended:
            return Link(name, fault.build(dict(impairment.extension.parameters)))
        return Link(name, fault.from_message(getattr(impairment, case)))
    except InvalidInput as error:
        path = f"{where}.extension.parameters" if extended else f"{where}.{case}"
        raise InvalidInput(f"{path}.{error}") from None
