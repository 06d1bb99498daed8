"""Independent packet erasures with one probability, of all packets or of those of one segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.cached_rng import draw_cached
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo, PacketFault, check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.number_checks import UINT32_MAX
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools


@IMPAIRMENTS.register("packet_erasure")
@dataclass(frozen=True, slots=True)
class PacketErasure(PacketFault):
    """Binary erasure channel over packets, with capacity 1 - rate.

    If a segment is given, packets of other segments always pass; the fates of its own packets do not change. Only
    `for_frame` knows which these are: without it, all packets are those of the segment.

    Attributes:
        rate: probability of erasure, 0 to 1.
        segment: index into the segments of the frame header, 0 to 2**32 - 1; only packets of this segment are erased,
            and counted as trials. None: all packets.
    """

    rate: float
    segment: int | None = None

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)
        # Parameters of an extension are floats.
        if self.segment is not None and not (0 <= self.segment <= UINT32_MAX and float(self.segment).is_integer()):
            raise InvalidInput(f"segment: {self.segment!r} is not a whole number in 0 to 2**32 - 1")

    @property
    def expected_rate(self) -> float:
        return self.rate

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the rate, or 0 if a segment is given.

        The share of the segment's packets in the traffic is not known here, so 0 is reported, which is right for
        packets of other segments. Experiments such as "the caption is lost" also need a transmitter that does not
        expect the loss.
        """
        return self.rate if self.segment is None else 0.0

    def work(self, batch: PacketBatch) -> float:
        return len(batch)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_cached(rng, batch, "lost", lambda sequence, rng: rng.uniform(sequence) < self.rate)

    def for_frame(self, frame: FrameInfo) -> Fault:
        if self.segment is None:
            return self
        return _SegmentErasure(self.rate, self.segment, *frame.packets_of(int(self.segment)))


@dataclass(frozen=True, slots=True)
class _SegmentErasure(PacketErasure):
    """Erasures of the packets of one segment of a round.

    Attributes:
        first: sequence number of the first packet of the segment.
        end: one more than that of its last packet.
    """

    first: int = 0
    end: int = 0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return PacketErasure.draw(self, batch, rng) & self._in_segment(batch)

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        return int(np.count_nonzero(self._in_segment(batch))), int(np.count_nonzero(drawn))

    def _in_segment(self, batch: PacketBatch) -> Bools:
        """Return which packets belong to the segment, bool [P]."""
        chosen: Bools = (batch.sequence >= self.first) & (batch.sequence < self.end)
        return chosen
