"""Random packet delays, with an optional deadline after which a packet is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from gocom.channel_emulator.fault_bases.cached_rng import draw_cached
from gocom.channel_emulator.fault_bases.fault import FrameInfo, check_range
from gocom.channel_emulator.fault_bases.timed_fault import Doubles, TimedBatch, TimedFault, with_erased
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints

UNIFORM, NORMAL, EXPONENTIAL = "uniform", "normal", "exponential"
_MAX_MS = 60_000


@IMPAIRMENTS.register("delay")
@dataclass(frozen=True, slots=True)
class Delay(TimedFault):
    """An independent delay of each packet.

    Its draw is float64 [P], in ms; infinite beyond the deadline, which is an event and erases the packet.

    Attributes:
        delay_ms: mean delay, 0 to 60,000; for "exponential" the smallest delay.
        jitter_ms: spread of the delay, 0 to delay_ms; for "exponential" 0 to 60,000.
        distribution: "uniform" from delay_ms - jitter_ms to delay_ms + jitter_ms; "normal" with standard deviation
            jitter_ms, where negative delays become 0; "exponential": delay_ms plus an exponential time with mean
            jitter_ms.
        deadline_ms: packets with a longer delay are erased, 0 to 60,000; None: there is no deadline.
    """

    delay_ms: float
    jitter_ms: float = 0.0
    distribution: str = UNIFORM
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        if self.distribution not in (UNIFORM, NORMAL, EXPONENTIAL):
            raise UnknownName("distribution", str(self.distribution)[:80], (UNIFORM, NORMAL, EXPONENTIAL))
        check_range("delay_ms", self.delay_ms, 0, _MAX_MS)
        max_jitter_ms = _MAX_MS if self.distribution == EXPONENTIAL else self.delay_ms
        check_range("jitter_ms", self.jitter_ms, 0, max_jitter_ms)
        if self.deadline_ms is not None:
            check_range("deadline_ms", self.deadline_ms, 0, _MAX_MS)

    @property
    def expected_rate(self) -> float:
        """Share of packets that miss the deadline; 0 without one."""
        if self.deadline_ms is None:
            return 0.0
        margin, jitter = self.deadline_ms - self.delay_ms, self.jitter_ms
        if jitter == 0:
            return float(margin < 0)
        if self.distribution == UNIFORM:
            return min(1.0, max(0.0, (jitter - margin) / (2 * jitter)))
        if self.distribution == NORMAL:
            return float(ndtr(-margin / jitter))
        return math.exp(-max(0.0, margin) / jitter)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        return self.expected_rate

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        return draw_cached(rng, batch, "ms", self._delays)

    def _delays(self, sequence: Ints, rng: CounterRng) -> Doubles:
        """Return the delays in ms, float64 [P], of sequence numbers int64 [P] in any order."""
        u = rng.uniform(sequence)
        if self.distribution == UNIFORM:
            delays = self.delay_ms + self.jitter_ms * (2 * u - 1)
        elif self.distribution == NORMAL:
            # ndtri(0) is infinite.
            delays = np.maximum(0.0, self.delay_ms + self.jitter_ms * ndtri(np.maximum(u, 2.0**-54)))
        else:
            delays = self.delay_ms - self.jitter_ms * np.log1p(-u)
        return delays if self.deadline_ms is None else np.where(delays > self.deadline_ms, np.inf, delays)

    def apply(self, batch: PacketBatch, drawn: Doubles, frame: FrameInfo) -> PacketBatch:
        return with_erased(batch, np.isinf(drawn))

    def apply_timed(self, timed_batch: TimedBatch, drawn: Doubles) -> TimedBatch:
        return replace(timed_batch, delay_ms=timed_batch.delay_ms + drawn)

    def count(self, batch: PacketBatch, drawn: Doubles) -> tuple[int, int]:
        return len(drawn), int(np.count_nonzero(np.isinf(drawn)))
