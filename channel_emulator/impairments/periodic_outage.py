"""Regular interruptions: of every `period` packets in a row `length` are erased.

Where in the period a round begins is uniformly random, drawn once for each (frame, round); then a packet's fate follows
from its sequence number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import draw_by_window
from gocom.channel_emulator.fault_bases.fault import PacketFault, Score, Tally, check_whole
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints


@IMPAIRMENTS.register("periodic_outage")
@dataclass(frozen=True, slots=True)
class PeriodicOutage(PacketFault):
    """Packet s is erased where (s + phase) mod period < length.

    Attributes:
        period: packets from one outage to the next, 1 to 1,048,576.
        length: packets that an outage erases, 0 to period.
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
        """All of an outage but its last packet are followed by one; with no end to it, all are."""
        return 1.0 if self.length == self.period else max(0, self.length - 1) / self.period

    def count_variance(self, trials: int) -> float:
        """Of the erasures in a run of n packets, over the phase.

        Whole periods hold no surprise. The rest, m packets on a circle of T, overlaps an arc of L: with a <= b these
        two, and a + b <= T, by a in b - a + 1 places and by each of 1 to a - 1 in two, so that the square of the
        overlap adds up to a^2 (b - a + 1) + (a - 1) a (2 a - 1) / 3 over all T; its mean is a b / T. Of what lies
        outside of either arc the overlap varies alike, so that a + b <= T is no loss. In whole numbers, hence exact.
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
        return draw_by_window(rng, batch, "lost", self._lost)

    def _lost(self, sequence: Ints, rng: CounterRng) -> Bools:
        phase = int(rng.uniform(0) * self.period)
        lost: Bools = (sequence + phase) % int(self.period) < self.length
        return lost


class _OutageTally(Tally):
    """Erasures of a round whose packets need not follow each other: an earlier hop may have lost some.

    All of the chance lies in the phase: mean and variance are those over its T values, of the very numbers that came.
    """

    def __init__(self, fault: PeriodicOutage) -> None:
        super().__init__(fault)
        self._period, self._length = int(fault.period), int(fault.length)
        self._places = np.zeros(self._period, np.int64)

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        super().add(batch, drawn)
        np.add.at(self._places, batch.sequence % self._period, 1)

    def score(self) -> Score:
        ends = np.concatenate(([0], np.cumsum(np.concatenate([self._places, self._places[: self._length]]))))
        lost = ends[self._length : self._length + self._period] - ends[: self._period]
        return Score(self._trials, self._events, float(lost.mean()), float(lost.var()))
