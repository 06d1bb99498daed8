"""Reordering: packets are held back and overtaken by others, independently of each other."""

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


@IMPAIRMENTS.register("reorder")
@dataclass(frozen=True, slots=True)
class Reorder(TimedFault):
    """Independent reordering of packets.

    Its draw is bool [P], True for packets that are held back. This is an event even if another fault erases the packet.

    A packet that is held back leaves right after `distance` packets that arrived later and are neither held back nor
    erased by any fault of the chain, or at the end of the round.

    Attributes:
        rate: probability that a packet is held back, 0 to 1.
        distance: number of packets that overtake it, 1 to 1024.
    """

    rate: float
    distance: int = 1

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)
        check_whole("distance", self.distance, 1, 1024)

    @property
    def expected_rate(self) -> float:
        return self.rate

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_cached(rng, batch, "held", lambda sequence, rng: rng.uniform(sequence) < self.rate)

    def apply(self, batch: PacketBatch, drawn: Bools, frame: FrameInfo) -> PacketBatch:
        return batch

    def apply_timed(self, timed_batch: TimedBatch, drawn: Bools) -> TimedBatch:
        return replace(timed_batch, overtaken_by=timed_batch.overtaken_by + drawn * int(self.distance))

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        return len(drawn), int(np.count_nonzero(drawn))
