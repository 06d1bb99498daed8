"""Periodic outages: `length` of every `period` consecutive packets are erased.

The phase at which a round begins is uniformly random and drawn once for each (frame, round). After that the fate of a
packet follows from its sequence number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import draw_cached
from gocom.channel_emulator.fault_bases.fault import EventCounts, PacketFault, Tally, check_whole
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints


@IMPAIRMENTS.register("periodic_outage")
@dataclass(frozen=True, slots=True)
class PeriodicOutage(PacketFault):
    """A periodic outage: packet s is erased if (s + phase) mod period < length.

    Attributes:
        period: number of packets from one outage to the next, 1 to 1,048,576.
        length: number of packets that an outage erases, 0 to period.
    """

    period: int
    length: int

    def __post_init__(self) -> None:
        check_whole("period", self.period, 1, 1 << 20)
        check_whole("length", self.length, 0, int(self.period))

    @property
    def expected_rate(self) -> float:
        return self.length / self.period

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Return the probability that two consecutive packets are both erased.

        In an outage every packet but the last is followed by an erased one; with length = period every packet is.
        """
        return 1.0 if self.length == self.period else max(0, self.length - 1) / self.period

    def count_variance(self, trials: int) -> float:
        """Return the variance, over the phase, of the number of erasures in a run of n packets.

        Whole periods have a fixed number of erasures. The remaining m packets are an arc on a circle of T = period
        places, which overlaps the outage, an arc of L = length. Let a <= b be these two lengths, and a + b <= T: then b
        - a + 1 positions have an overlap of a, and two positions each have an overlap of 1 to a - 1. So the squares of
        the overlap add up to a^2 (b - a + 1) + (a - 1) a (2 a - 1) / 3 over all T positions, and its mean is a b / T.
        Replacing an arc by its complement does not change the variance, so a + b <= T is no restriction. The result is
        computed with integers, hence exact.
        """
        period, rest = int(self.period), trials % int(self.period)
        a, b = sorted((min(rest, period - rest), int(min(self.length, period - self.length))))
        squares = 3 * a * a * (b - a + 1) + (a - 1) * a * (2 * a - 1)
        return (squares * period - 3 * (a * b) ** 2) / (3 * period * period)

    def tally(self) -> Tally:
        return _OutageTally(self)

    def work(self, batch: PacketBatch) -> float:
        return len(batch)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_cached(rng, batch, "lost", self._lost)

    def _lost(self, sequence: Ints, rng: CounterRng) -> Bools:
        phase = int(rng.uniform(0) * self.period)
        lost: Bools = (sequence + phase) % int(self.period) < self.length
        return lost


class _OutageTally(Tally):
    """The counter of a round whose packets need not be consecutive, as an earlier hop may have lost some.

    Only the phase is random: mean and variance are taken over all its `period` values, for the packets that arrived.
    """

    def __init__(self, fault: PeriodicOutage) -> None:
        super().__init__(fault)
        self._period, self._length = int(fault.period), int(fault.length)
        self._packets_by_phase = np.zeros(self._period, np.int64)

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        super().add(batch, drawn)
        np.add.at(self._packets_by_phase, batch.sequence % self._period, 1)

    def event_counts(self) -> EventCounts:
        wrapped = np.concatenate([self._packets_by_phase, self._packets_by_phase[: self._length]])
        ends = np.concatenate(([0], np.cumsum(wrapped)))
        lost = ends[self._length : self._length + self._period] - ends[: self._period]
        return EventCounts(self._trials, self._events, float(lost.mean()), float(lost.var()))
