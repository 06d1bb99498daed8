"""Every packet, or every packet of one segment, is erased with the same probability, independently of all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.cached_rng import draw_by_window
from gocom.channel_emulator.fault_bases.fault import PacketFault, check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools

_UINT32 = 1 << 32


@IMPAIRMENTS.register("packet_erasure")
@dataclass(frozen=True, slots=True)
class PacketErasure(PacketFault):
    """Binary erasure channel over packets; capacity 1 - rate.

    With a segment, its packets meet the fate they would meet without; those of other segments all pass.

    Attributes:
        rate: probability of erasure, 0 to 1.
        segment: only packets of this segment are erased, and counted as trials: an index into the segments of the frame
            header, 0 to 2**32 - 1. None: all.
    """

    rate: float
    segment: int | None = None

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)
        # An extension's parameters are floats.
        if self.segment is not None and not (0 <= self.segment < _UINT32 and float(self.segment).is_integer()):
            raise InvalidInput(f"segment: {self.segment!r} is not a whole number in 0 to 2**32 - 1")

    @property
    def expected_rate(self) -> float:
        return self.rate

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """With a segment 0, the truth for packets of all others: how the traffic is mixed is not known here.

        It is also what an experiment such as "the caption is lost" needs: a transmitter that does not see it coming.
        """
        return self.rate if self.segment is None else 0.0

    def work(self, batch: PacketBatch) -> float:
        return len(batch)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        lost = draw_by_window(rng, batch, "lost", lambda sequence, rng: rng.uniform(sequence) < self.rate)
        return lost if self.segment is None else lost & self._candidates(batch)

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        trials = len(batch) if self.segment is None else int(np.count_nonzero(self._candidates(batch)))
        return trials, int(np.count_nonzero(drawn))

    def _candidates(self, batch: PacketBatch) -> Bools:
        """bool [P]: the packets of the segment."""
        chosen: Bools = batch.segment == self.segment
        return chosen
