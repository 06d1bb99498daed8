"""Independent bit flips over payload bits: the binary symmetric channel, exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.bit_fault import ERASE, BitFault, check_damage, successes
from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints


@IMPAIRMENTS.register("bit_flip")
@dataclass(frozen=True, slots=True)
class BitFlip(BitFault):
    """Bit flips.

    Attributes:
        rate: probability that a bit is flipped, 0 to 0.5.
        damage: "erase" or "deliver", see BitFault.
    """

    rate: float
    damage: str = ERASE

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 0.5)
        check_damage(self.damage)

    @property
    def expected_rate(self) -> float:
        return self.rate

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """1 - (1-rate)^L; damage that is delivered erases nothing (segments that tolerate none are not known here)."""
        return float(-np.expm1(payload_bits * np.log1p(-self.rate))) if self.damage == ERASE else 0.0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        active = np.flatnonzero(~batch.erased & (batch.length > 0))
        first_bit = (np.cumsum(batch.length) - batch.length)[active] * 8
        packet, bit = successes(batch.length[active] * 8, self.rate, batch.sequence[active], rng)
        return first_bit[packet] + bit
