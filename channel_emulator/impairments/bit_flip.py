"""Independent bit flips over payload bits: the binary symmetric channel, exact.

Instead of one uniform a bit, one a flip: the number of whole bits up to the next flip is geometric, floor(ln(1-u) /
ln(1-rate)). The j-th uniform of a packet belongs to (sequence number, j), so flips do not depend on batching.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from channel_emulator.impairments import IMPAIRMENTS, Fault, FrameInfo, check_range
from common.checksum import checksums
from common.errors import InvalidInput
from common.random import CounterRng
from common.types import Bools, Ints, PacketBatch
from gocom.v1 import channel_pb2

ERASE, DELIVER = "erase", "deliver"
_MAX_DRAWS = 1 << 20
"""Uniforms drawn at once; bounds memory for long payloads."""
_FAR = 1 << 40
"""A gap beyond any payload; keeps tiny rates within int64."""


@IMPAIRMENTS.register("bit_flip")
@dataclass(frozen=True, slots=True)
class BitFlip(Fault):
    """Bit flips. Packets that were erased before are left alone: nothing of them is there to flip.

    Attributes:
        rate: probability that a bit is flipped, 0 to 0.5.
        damage: "erase": any flip erases the packet, as its checksum would; "deliver": it arrives damaged where its
            segment tolerates that (UDP-Lite), and is erased elsewhere.
    """

    rate: float
    damage: str = ERASE
    unit: ClassVar[channel_pb2.TrialUnit.ValueType] = channel_pb2.TRIAL_UNIT_BIT

    def __post_init__(self) -> None:
        check_range("rate", self.rate, 0, 0.5)
        if self.damage not in (ERASE, DELIVER):
            raise InvalidInput(f"damage: {self.damage!r} is none of {ERASE}, {DELIVER}")

    @property
    def expected_rate(self) -> float:
        return self.rate

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """1 - (1-rate)^L; damage that is delivered erases nothing (segments that tolerate none are not known here)."""
        return float(-np.expm1(payload_bits * np.log1p(-self.rate))) if self.damage == ERASE else 0.0

    @property
    def bit_error_rate(self) -> float:
        return self.rate if self.damage == DELIVER else 0.0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        """int64 [F]: flipped bits as indices into the bits of `batch.payload`, most significant bit of a byte first."""
        active = np.flatnonzero(~batch.erased & (batch.length > 0))
        bits, begin = batch.length * 8, batch.offset * 8
        reached = np.zeros(len(batch), np.int64)  # bits of each packet already passed
        found, block = [np.zeros(0, np.int64)], 0
        while self.rate > 0 and len(active):
            expected = float(bits[active].max()) * self.rate
            count = int(min(expected + 4 * expected**0.5 + 2, max(1, _MAX_DRAWS // len(active))))
            u = rng.uniform(batch.sequence[active, None], np.arange(block, block + count))
            gaps = np.minimum(np.log1p(-u) / np.log1p(-self.rate), _FAR).astype(np.int64) + 1
            position = reached[active, None] + np.cumsum(gaps, axis=1) - 1
            found.append((position + begin[active, None])[position < bits[active, None]])
            reached[active] = position[:, -1] + 1
            active = active[reached[active] < bits[active]]
            block += count
        return np.concatenate(found)

    def apply(self, batch: PacketBatch, drawn: Ints, frame: FrameInfo) -> PacketBatch:
        hit = np.zeros(len(batch), bool)
        hit[np.searchsorted(np.cumsum(batch.length), drawn >> 3, side="right")] = True
        delivered = hit & _tolerant(batch, frame) if self.damage == DELIVER else np.zeros(len(batch), bool)
        erased = batch.erased | (hit & ~delivered)
        if not delivered.any():
            return replace(batch, erased=erased)
        payload = batch.payload.copy()
        np.bitwise_xor.at(payload, drawn >> 3, np.right_shift(128, drawn & 7).astype(np.uint8))
        out = replace(batch, payload=payload, checksum=batch.checksum.copy(), erased=erased)
        # The sender declared these payloads useful when damaged; a checksum over them would say otherwise.
        out.checksum[delivered] = checksums(out.select(delivered), frame.frame_index, frame.round)
        return out

    def count(self, batch: PacketBatch, drawn: Ints) -> tuple[int, int]:
        return 8 * int(batch.length[~batch.erased].sum()), len(drawn)


def _tolerant(batch: PacketBatch, frame: FrameInfo) -> Bools:
    """bool [P]: the packet's segment tolerates damage. Segments the header does not have tolerate none."""
    table = np.array([*frame.damage_tolerant, False], bool)
    tolerant: Bools = table[np.minimum(batch.segment, len(table) - 1)]
    return tolerant
