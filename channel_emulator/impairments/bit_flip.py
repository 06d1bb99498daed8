"""Independent flips of payload bits: the exact binary symmetric channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.bit_fault import ERASE, BitFault, check_damage, draw_successes
from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints


@IMPAIRMENTS.register("bit_flip")
@dataclass(frozen=True, slots=True)
class BitFlip(BitFault):
    """Independent bit flips.

    Attributes:
        rate: probability that a bit is flipped, 0 to 0.5.
        damage: "erase" or "deliver"; see BitFault.
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
        """Return 1 - (1-rate)^L for damage=erase.

        For damage=deliver return 0: whether segments tolerate damage is not known here.
        """
        return float(-np.expm1(payload_bits * np.log1p(-self.rate))) if self.damage == ERASE else 0.0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        active = np.flatnonzero(~batch.erased & (batch.length > 0))
        first_bit = (np.cumsum(batch.length) - batch.length)[active] * 8
        packet, bit = draw_successes(batch.length[active] * 8, self.rate, batch.sequence[active], rng)
        return first_bit[packet] + bit
