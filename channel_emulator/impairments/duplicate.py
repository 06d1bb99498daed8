"""Duplication of packets, independently of each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gocom.channel_emulator.fault_bases.cached_rng import draw_cached
from gocom.channel_emulator.fault_bases.fault import FrameInfo, check_range, check_whole
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch, TimedFault
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools


@IMPAIRMENTS.register("duplicate")
@dataclass(frozen=True, slots=True)
class Duplicate(TimedFault):
    """Independent duplication of packets.

    Its draw is bool [P], True for duplicated packets. A duplication is an event even if another fault erases the
    packet.

    Attributes:
        rate: probability that a packet is duplicated, 0 to 1.
        copies: number of additional copies of such a packet, 1 to 8. They follow it immediately, and every fault of the
            chain does the same to them as to the packet.
    """

    rate: float
    copies: int = 1

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)
        check_whole("copies", self.copies, 1, 8)

    @property
    def expected_rate(self) -> float:
        return self.rate

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_cached(rng, batch, "copied", lambda sequence, rng: rng.uniform(sequence) < self.rate)

    def apply(self, batch: PacketBatch, drawn: Bools, frame: FrameInfo) -> PacketBatch:
        return batch

    def apply_timed(self, timed_batch: TimedBatch, drawn: Bools) -> TimedBatch:
        return replace(timed_batch, copies=timed_batch.copies + drawn * int(self.copies))

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        return len(drawn), int(np.count_nonzero(drawn))
