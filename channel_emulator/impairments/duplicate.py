"""Packets that come more than once, independently of each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gocom.channel_emulator.fault_bases.cached_rng import draw_by_window
from gocom.channel_emulator.fault_bases.fault import FrameInfo, check_range, check_whole
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch, TimedFault
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools


@IMPAIRMENTS.register("duplicate")
@dataclass(frozen=True, slots=True)
class Duplicate(TimedFault):
    """Its draw: bool [P], True = comes more than once; an event, also of a packet that another fault erases.

    Attributes:
        rate: probability of coming more than once, 0 to 1.
        copies: how often such a packet comes beyond the first time, 1 to 8. They come right behind it, and what the
            chain does to it, it does to them.
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
        return draw_by_window(rng, batch, "copied", lambda sequence, rng: rng.uniform(sequence) < self.rate)

    def apply(self, batch: PacketBatch, drawn: Bools, frame: FrameInfo) -> PacketBatch:
        return batch

    def apply_timed(self, timed_batch: TimedBatch, drawn: Bools) -> TimedBatch:
        return replace(timed_batch, copies=timed_batch.copies + drawn * int(self.copies))

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        return len(drawn), int(np.count_nonzero(drawn))
