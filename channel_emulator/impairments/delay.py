"""Packets that take time, each its own; and those that come too late, where there is a deadline."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from gocom.channel_emulator.fault_bases.cached_rng import draw_by_window
from gocom.channel_emulator.fault_bases.fault import FrameInfo, check_range
from gocom.channel_emulator.fault_bases.timed_fault import Doubles, TimedBatch, TimedFault, with_erased
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints

UNIFORM, NORMAL, EXPONENTIAL = "uniform", "normal", "exponential"
_LONGEST_MS = 60_000


@IMPAIRMENTS.register("delay")
@dataclass(frozen=True, slots=True)
class Delay(TimedFault):
    """Its draw: float64 [P], ms; infinite = beyond the deadline, which is an event and erases the packet.

    Attributes:
        delay_ms: mean (of exponential: least) delay, 0 to 60,000.
        jitter_ms: how much it varies, 0 to delay_ms; of exponential: to 60,000.
        distribution: "uniform" between delay_ms - jitter_ms and delay_ms + jitter_ms; "normal" with jitter_ms for a
            standard deviation, and 0 where that is negative; "exponential": delay_ms plus a time with mean jitter_ms.
        deadline_ms: a packet with a longer delay is erased, 0 to 60,000; None: none is.
    """

    delay_ms: float
    jitter_ms: float = 0.0
    distribution: str = UNIFORM
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        if self.distribution not in (UNIFORM, NORMAL, EXPONENTIAL):
            raise UnknownName("distribution", str(self.distribution)[:80], (UNIFORM, NORMAL, EXPONENTIAL))
        check_range("delay_ms", self.delay_ms, 0, _LONGEST_MS)
        most = _LONGEST_MS if self.distribution == EXPONENTIAL else self.delay_ms
        check_range("jitter_ms", self.jitter_ms, 0, most)
        if self.deadline_ms is not None:
            check_range("deadline_ms", self.deadline_ms, 0, _LONGEST_MS)

    @property
    def expected_rate(self) -> float:
        """Share of packets that come after the deadline; 0 without one."""
        if self.deadline_ms is None:
            return 0.0
        spare, jitter = self.deadline_ms - self.delay_ms, self.jitter_ms
        if jitter == 0:
            return float(spare < 0)
        if self.distribution == UNIFORM:
            return min(1.0, max(0.0, (jitter - spare) / (2 * jitter)))
        if self.distribution == NORMAL:
            return float(ndtr(-spare / jitter))
        return math.exp(-max(0.0, spare) / jitter)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        return self.expected_rate

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        return draw_by_window(rng, batch, "ms", self._times)

    def _times(self, sequence: Ints, rng: CounterRng) -> Doubles:
        """float64 [P], for sequence numbers int64 [P] in any order."""
        u = rng.uniform(sequence)
        if self.distribution == UNIFORM:
            times = self.delay_ms + self.jitter_ms * (2 * u - 1)
        elif self.distribution == NORMAL:
            # Of u = 0 it would be infinite.
            times = np.maximum(0.0, self.delay_ms + self.jitter_ms * ndtri(np.maximum(u, 2.0**-54)))
        else:
            times = self.delay_ms - self.jitter_ms * np.log1p(-u)
        return times if self.deadline_ms is None else np.where(times > self.deadline_ms, np.inf, times)

    def apply(self, batch: PacketBatch, drawn: Doubles, frame: FrameInfo) -> PacketBatch:
        return with_erased(batch, np.isinf(drawn))

    def apply_timed(self, timed_batch: TimedBatch, drawn: Doubles) -> TimedBatch:
        return replace(timed_batch, delay_ms=timed_batch.delay_ms + drawn)

    def count(self, batch: PacketBatch, drawn: Doubles) -> tuple[int, int]:
        return len(drawn), int(np.count_nonzero(np.isinf(drawn)))
