"""Replay of a recorded trace: packet s of round r of frame f has its recorded fate again, whatever the codec.

Nothing is drawn. Erased packets are erased. Flipped bits are flipped again; if packets of another codec are shorter,
flips beyond their end are ignored. A packet with flipped bits is delivered damaged if its segment tolerates damage, and
is erased otherwise, as with damage=deliver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from gocom.channel_emulator.fault_bases.bit_fault import DELIVER, BitFault
from gocom.channel_emulator.fault_bases.fault import DeterministicTally, FrameInfo, Tally
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.packet_traces import BIT_SHIFT, Trace, trace_from_proto
from gocom.common.types import Bools, Ints, LinkSettings
from gocom.v1 import channel_pb2


@IMPAIRMENTS.register("trace_replay")
@dataclass(frozen=True, slots=True)
class TraceReplay(BitFault):
    """A trace to replay.

    Its draw is int64 [E], ascending. Negative entries are -1 - i for each erased packet i of the batch; the others are
    flipped bits as in a BitFault.

    Attributes:
        trace: the recorded fates. For rounds and packets that it does not contain see TraceReplay in channel.proto.
        damage: always "deliver"; the trace says which packets are erased.
    """

    trace: Trace
    damage: str = field(default=DELIVER, init=False)

    @classmethod
    def build(cls, parameters: Mapping[str, float | str]) -> Self:
        """Raise InvalidInput: a trace cannot be given as parameters."""
        raise InvalidInput("rounds: not set; they come in the message TraceReplay, not as parameters")

    @classmethod
    def from_message(cls, message: Any) -> Self:
        return cls(trace_from_proto(message.rounds))

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET

    @property
    def expected_rate(self) -> float:
        """Share of the trace's packets that are erased or have flipped bits."""
        return (self.trace.counts.lost + self.trace.counts.flipped) / self.trace.counts.packets

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the share of the trace's packets that are erased."""
        return self.trace.counts.lost / self.trace.counts.packets

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Return the share of packets that are erased and followed by an erased packet of the same round.

        With it the mean burst length of the chain is that of the trace.
        """
        return (self.trace.counts.lost - self.trace.counts.loss_runs) / self.trace.counts.packets

    @property
    def bit_error_rate(self) -> float:
        """Bit error rate for packets of the default size; a trace does not record the sizes of its packets."""
        counts = self.trace.counts
        bits = (counts.packets - counts.lost) * 8 * LinkSettings().max_payload_bytes
        return min(0.5, counts.flips / bits) if bits else 0.0

    def work(self, batch: PacketBatch) -> float:
        """Return the number of random numbers whose drawing would take about as long as this replay."""
        return len(batch) * (1 + self.trace.counts.peak_flips_per_packet)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        trace = self.trace
        place = trace.replayed_round(rng.frame_index, rng.round)
        packet = batch.sequence % trace.packets[place]
        at = trace.first_byte[place] * 8 + packet
        lost: Bools = (trace.erased[at >> 3] >> (at & 7).astype(np.uint8) & 1).astype(bool)
        flips = trace.flips[trace.first_flip[place] : trace.first_flip[place + 1]]
        begins = np.searchsorted(flips, packet << BIT_SHIFT)
        ends = np.searchsorted(flips, (packet << BIT_SHIFT) + 8 * batch.length)
        count = np.where(batch.erased, 0, ends - begins)
        hit = np.repeat(np.arange(len(batch)), count)
        which = np.arange(len(hit)) + np.repeat(begins - (np.cumsum(count) - count), count)
        bit = flips[which] & (1 << BIT_SHIFT) - 1
        first_bit = (np.cumsum(batch.length) - batch.length) * 8
        return np.concatenate([~np.flatnonzero(lost)[::-1], first_bit[hit] + bit])

    def apply(self, batch: PacketBatch, drawn: Ints, frame: FrameInfo) -> PacketBatch:
        lost = np.zeros(len(batch), bool)
        lost[~drawn[drawn < 0]] = True
        damaged = BitFault.apply(self, batch, drawn[drawn >= 0], frame)
        return damaged.erase(lost)

    def count(self, batch: PacketBatch, drawn: Ints) -> tuple[int, int]:
        hit = np.searchsorted(8 * np.cumsum(batch.length), drawn[drawn >= 0], side="right")
        return len(batch), int(np.count_nonzero(drawn < 0)) + len(np.unique(hit))

    def tally(self) -> Tally:
        return DeterministicTally(self)
