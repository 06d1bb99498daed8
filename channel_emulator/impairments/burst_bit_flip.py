"""Bit flips in bursts: a Gilbert-Elliott chain over payload bits (see fault_bases/two_state_chain.py for its formulas).

The chain starts in its stationary distribution at each packet. So the fate of a packet depends on its sequence number
alone, and batches may have any size and order. A burst therefore ends with its packet, however long 1/r is.

Instead of one uniform per bit, one is drawn per run of a state (its length is geometric) and one per flip: the bad bits
of a packet, taken together, are independent trials of rate_bad, and its good bits are independent trials of rate_good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gocom.channel_emulator.fault_bases.bit_fault import (
    ERASE,
    MAX_WINDOW_VALUES,
    BitFault,
    check_damage,
    draw_geometric_gaps,
    draw_successes,
    select_from_window,
)
from gocom.channel_emulator.fault_bases.cached_rng import LONG_WINDOW, CachedRng
from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

_GROUP_BITS = 1 << 23
"""Bits of the packets processed together, at least one packet; bounds memory if runs are short."""


@dataclass(frozen=True, slots=True)
class StateRuns:
    """Runs of bits in one state, in order of packets; a run that outlasts its packet is cut.

    Attributes:
        packet: int64 [S], packet of each run, ascending.
        start: int64 [S], first bit within the packet.
        length: int64 [S], number of bits, at least 1.
        bad: bool [S], True for the bad state.
    """

    packet: Ints
    start: Ints
    length: Ints
    bad: Bools

    def select(self, keep: Bools) -> StateRuns:
        """Return only the runs where `keep` is True."""
        return StateRuns(self.packet[keep], self.start[keep], self.length[keep], self.bad[keep])


@IMPAIRMENTS.register("burst_bit_flip")
@dataclass(frozen=True, slots=True)
class BurstBitFlip(BitFault):
    """Gilbert-Elliott bit flips.

    Attributes:
        p: probability per bit of going from good to bad, above 0, to 1.
        r: probability per bit of going from bad to good, above 0, to 1; p + r may not exceed 1. Bursts last 1/r bits.
        rate_bad: probability that a bit is flipped in the bad state, 0 to 0.5.
        rate_good: probability that a bit is flipped in the good state, 0 to 0.5.
        damage: "erase" or "deliver"; see BitFault.
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
        """Return the variance of the number of flips in one packet of this many bits."""
        return self._chain.count_variance(trials)

    def batch_variance(self, batch: PacketBatch) -> float:
        """Return the variance of the number of flips; exact, as packets are independent and their variances add up."""
        sizes, packets = np.unique(8 * batch.length[~batch.erased], return_counts=True)
        each = [self.count_variance(size) for size in sizes.tolist()]
        return float(np.dot(packets, each))

    @property
    def _draws_per_bit(self) -> float:
        """Mean number of random numbers per bit: one per flip, and one per run of a state."""
        return self.expected_rate + 2 * self.p * self.r / (self.p + self.r)

    def work(self, batch: PacketBatch) -> float:
        return len(batch) + len(batch.payload) * 8 * self._draws_per_bit

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the probability that a packet of L bits has a flip; 0 for damage=deliver, as for bit_flip."""
        return 1 - self._chain.quiet_probability(payload_bits) if self.damage == ERASE else 0.0

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Ints:
        bits, window = 8 * batch.layout.longest, None
        few = LONG_WINDOW * (1 + bits * self._draws_per_bit) <= MAX_WINDOW_VALUES
        if bits and few and batch.layout.equal_lengths and isinstance(rng, CachedRng):
            window = rng.window(batch.sequence_range, ("flips", bits), partial(self._window_flips, bits))
        if window is not None:
            packet, bit = select_from_window(window, batch.sequence, batch.sequence_range)
            flipped = packet * bits + bit
            return flipped[~batch.erased[packet]]
        groups = [np.zeros(0, np.int64)]
        for group in _groups(batch):
            packet, bit = self._flips(batch.length[group] * 8, batch.sequence[group], rng)
            groups.append(batch.offset[group][packet] * 8 + bit)
        return np.concatenate(groups)

    def _window_flips(self, bits: int, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        """Draw the flips of packets of one size.

        Returns:
            int64 [P + 1], the index of each packet's first flip; and int64 [F], the bit of each flip.
        """
        packet, bit = self._flips(np.full(len(sequence), bits), sequence, rng)
        return np.searchsorted(packet, np.arange(len(sequence) + 1)), bit

    def _flips(self, bits: Ints, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        """Draw the flips of packets.

        Args:
            bits: int64 [P], payload sizes in bits, above 0.
            sequence: int64 [P], sequence numbers.
            rng: the random number generator.

        Returns:
            int64 [F] twice: the packet of each flip, ascending, and its bit, ascending in each packet.
        """
        runs, flips = self.state_runs(bits, sequence, rng.substream("state")), []
        for bad, rate, name in ((True, self.rate_bad, "bad"), (False, self.rate_good, "good")):
            flips.append(_flips(runs.select(runs.bad == bad), rate, sequence, rng.substream(name)))
        packet, bit = (np.concatenate(column) for column in zip(*flips, strict=True))
        order = np.lexsort((bit, packet))
        return packet[order], bit[order]

    def state_runs(self, bits: Ints, sequence: Ints, rng: CounterRng) -> StateRuns:
        """Draw the runs of the states in each packet.

        Args:
            bits: int64 [P], payload sizes in bits, above 0.
            sequence: int64 [P], sequence numbers.
            rng: the random number generator.
        """
        chain = self._chain
        bad_first = rng.substream("start").uniform(sequence) < chain.bad_share
        packet, stop = draw_geometric_gaps(
            bits, lambda rows, number: np.where(bad_first[rows] ^ (number % 2 == 1), self.r, self.p),
            2 * self.p * self.r / (self.p + self.r), sequence, rng,
        )  # fmt: skip
        # Each packet has at least one run, so this finds the first run of each.
        first = np.searchsorted(packet, np.arange(len(bits)))
        number = np.arange(len(packet)) - first[packet]
        start = np.where(number == 0, 0, np.concatenate(([0], stop[:-1])))
        return StateRuns(packet, start, np.minimum(stop, bits[packet]) - start, bad_first[packet] ^ (number % 2 == 1))


def _groups(batch: PacketBatch) -> Iterator[Ints]:
    """Yield indices of packets that can be damaged, in groups of about _GROUP_BITS bits or one packet."""
    active = np.flatnonzero(~batch.erased & (batch.length > 0))
    group = np.cumsum(batch.length[active] * 8) // _GROUP_BITS
    yield from np.split(active, np.flatnonzero(np.diff(group)) + 1)


def _flips(runs: StateRuns, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Draw the flips of this rate within runs of one state; return the packet and the bit of each."""
    trials = np.zeros(len(sequence), np.int64)
    np.add.at(trials, runs.packet, runs.length)
    packet, trial = draw_successes(trials, rate, sequence, rng)
    # Number the trials of all packets consecutively, and find the run that contains each.
    trial = trial + (np.cumsum(trials) - trials)[packet]
    ends = np.cumsum(runs.length)
    run_index = np.searchsorted(ends, trial, side="right")
    return packet, runs.start[run_index] + trial - (ends - runs.length)[run_index]
