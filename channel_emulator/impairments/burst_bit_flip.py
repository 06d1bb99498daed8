"""Bit flips in bursts: a Gilbert-Elliott chain over payload bits (two_state.py has its picture and formulas).

The chain starts stationary at each packet. That keeps a packet's fate a function of its sequence number: batches may
come in any size and order. A burst therefore ends with its packet, however long 1/r is.

Not a uniform a bit, but one a stay in a state (a stay is geometric) and one a flip: all bad bits of a packet in a row
are independent trials of rate_bad, all good ones of rate_good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gocom.channel_emulator.fault_bases.bit_fault import (
    ERASE,
    MAX_WINDOW,
    BitFault,
    check_damage,
    of_window,
    renewals,
    successes,
)
from gocom.channel_emulator.fault_bases.cached_rng import LONG_WINDOW, CachedRng
from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

_GROUP_BITS = 1 << 23
"""Bits of the packets looked at together (one packet at least); bounds memory when stays are short."""


@dataclass(frozen=True, slots=True)
class Stays:
    """Stays in one state, in packets one after the other; a stay that outlasts its packet is cut.

    Attributes:
        packet: int64 [S], ascending.
        start: int64 [S], first bit within the packet.
        length: int64 [S], bits, at least 1.
        bad: bool [S].
    """

    packet: Ints
    start: Ints
    length: Ints
    bad: Bools

    def select(self, keep: Bools) -> Stays:
        """Only the stays where `keep` is True."""
        return Stays(self.packet[keep], self.start[keep], self.length[keep], self.bad[keep])


@IMPAIRMENTS.register("burst_bit_flip")
@dataclass(frozen=True, slots=True)
class BurstBitFlip(BitFault):
    """Gilbert-Elliott bit flips.

    Attributes:
        p: probability, a bit, of going from good to bad, above 0, to 1.
        r: probability, a bit, of going from bad to good, above 0, to 1; p + r may not exceed 1. Bursts last 1/r bits.
        rate_bad: probability that a bit is flipped in the bad state, 0 to 0.5.
        rate_good: the same in the good state, 0 to 0.5.
        damage: "erase" or "deliver", see BitFault.
    """

    p: float
    r: float
    rate_bad: float = 0.5
    rate_good: float = 0.0
    damage: str = ERASE

    def __post_init__(self) -> None:
        check_range("rate_bad", self.rate_bad, 0, 0.5)
        check_range("rate_good", self.rate_good, 0, 0.5)
        check_damage(self.damage)
        TwoStateChain(self.p, self.r, self.rate_bad, self.rate_good)

    @property
    def _chain(self) -> TwoStateChain:
        return TwoStateChain(self.p, self.r, self.rate_bad, self.rate_good)

    @property
    def expected_rate(self) -> float:
        return self._chain.rate

    def count_variance(self, trials: int) -> float:
        """Of the flips in one packet of so many bits."""
        return self._chain.count_variance(trials)

    def batch_variance(self, batch: PacketBatch) -> float:
        """Packets are independent of each other, so theirs add up; exact for packets of any lengths."""
        sizes, packets = np.unique(8 * batch.length[~batch.erased], return_counts=True)
        each = [self.count_variance(size) for size in sizes.tolist()]
        return float(np.dot(packets, each))

    @property
    def _numbers_a_bit(self) -> float:
        """Random numbers a bit: one a flip, and one a stay in a state."""
        return self.expected_rate + 2 * self.p * self.r / (self.p + self.r)

    def work(self, batch: PacketBatch) -> float:
        return len(batch) + len(batch.payload) * 8 * self._numbers_a_bit

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """1 - probability that no bit of L is flipped; 0 for damage that is delivered, as for bit_flip."""
        return 1 - self._chain.quiet_probability(payload_bits) if self.damage == ERASE else 0.0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        bits, window = 8 * batch.layout.longest, None
        few = LONG_WINDOW * (1 + bits * self._numbers_a_bit) <= MAX_WINDOW
        if bits and few and batch.layout.same and isinstance(rng, CachedRng):
            window = rng.window(batch.span, ("flips", bits), partial(self._window, bits))
        if window is not None:
            packet, bit = of_window(window, batch.sequence, batch.span)
            flipped = packet * bits + bit
            return flipped[~batch.erased[packet]]
        groups = [np.zeros(0, np.int64)]
        for group in _groups(batch):
            packet, bit = self._flips(batch.length[group] * 8, batch.sequence[group], rng)
            groups.append(batch.offset[group][packet] * 8 + bit)
        return np.concatenate(groups)

    def _window(self, bits: int, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        """Of packets of one size: int64 [P+1], where each one's flips begin, and int64 [F], which of its bits."""
        packet, bit = self._flips(np.full(len(sequence), bits), sequence, rng)
        return np.searchsorted(packet, np.arange(len(sequence) + 1)), bit

    def _flips(self, bits: Ints, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        """packet int64 [F], ascending, and which of its bits int64 [F], ascending within each; of int64 [P] above 0."""
        stays, found = self.stays(bits, sequence, rng.sub("state")), []
        for bad, rate, name in ((True, self.rate_bad, "bad"), (False, self.rate_good, "good")):
            found.append(_flips(stays.select(stays.bad == bad), rate, sequence, rng.sub(name)))
        packet, bit = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((bit, packet))
        return packet[order], bit[order]

    def stays(self, bits: Ints, sequence: Ints, rng: CounterRng) -> Stays:
        """How long each packet is in which state. bits, sequence: int64 [P], sizes above 0 and sequence numbers."""
        chain = self._chain
        bad_first = rng.sub("start").uniform(sequence) < chain.bad_share
        packet, stop = renewals(
            bits, lambda rows, number: np.where(bad_first[rows] ^ (number % 2 == 1), self.r, self.p),
            2 * self.p * self.r / (self.p + self.r), sequence, rng,
        )  # fmt: skip
        first = np.searchsorted(packet, np.arange(len(bits)))  # each packet has a stay, so these are its first ones
        number = np.arange(len(packet)) - first[packet]
        start = np.where(number == 0, 0, np.concatenate(([0], stop[:-1])))
        return Stays(packet, start, np.minimum(stop, bits[packet]) - start, bad_first[packet] ^ (number % 2 == 1))


def _groups(batch: PacketBatch) -> Iterator[Ints]:
    """Indices of packets that are there to be damaged, at most _GROUP_BITS together or one packet."""
    active = np.flatnonzero(~batch.erased & (batch.length > 0))
    group = np.cumsum(batch.length[active] * 8) // _GROUP_BITS
    yield from np.split(active, np.flatnonzero(np.diff(group)) + 1)


def _flips(stays: Stays, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Packet and bit of flips of this rate within stays of one state."""
    room = np.zeros(len(sequence), np.int64)
    np.add.at(room, stays.packet, stays.length)
    packet, trial = successes(room, rate, sequence, rng)
    # Trials of all packets in a row: find the stay that each falls into.
    trial = trial + (np.cumsum(room) - room)[packet]
    ends = np.cumsum(stays.length)
    stay = np.searchsorted(ends, trial, side="right")
    return packet, stays.start[stay] + trial - (ends - stays.length)[stay]
