"""Every packet is erased with the same probability, independently of all others."""

from __future__ import annotations

from dataclasses import dataclass

from channel_emulator.impairments import IMPAIRMENTS, PacketFault, check_range
from common.random import CounterRng
from common.types import Bools, PacketBatch


@IMPAIRMENTS.register("packet_erasure")
@dataclass(frozen=True, slots=True)
class PacketErasure(PacketFault):
    """Binary erasure channel over packets; capacity 1 - rate.

    Attributes:
        rate: probability of erasure, 0 to 1.
    """

    rate: float

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 1)

    @property
    def expected_rate(self) -> float:
        return self.rate

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return rng.uniform(batch.sequence) < self.rate
