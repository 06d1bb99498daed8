"""A link of finite rate with a first-in first-out queue in front of it.

Nothing is random here, and time is virtual: all packets of a round come at once when it begins, to an empty queue. So
what becomes of a packet follows from the packets before it, not from how quick the sender or this machine is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng
from gocom.channel_emulator.fault_bases.fault import FrameInfo, Score, Tally, check_range, check_whole
from gocom.channel_emulator.fault_bases.timed_fault import Doubles, TimedBatch, TimedFault, with_erased
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch

_SENT = "sent_bits"


@IMPAIRMENTS.register("rate_limit")
@dataclass(frozen=True, slots=True)
class RateLimit(TimedFault):
    """Its draw: float64 [P], ms from the beginning of the round until the packet has been sent; infinite = the queue
    was too long, which is an event and erases the packet. Packets that an earlier fault erased never come to the queue.

    Attributes:
        rate_kbps: kbit/s, 0.001 to 1e9.
        queue_ms: a packet that would have to wait longer until it begins to be sent is erased, 0 to 600,000; None: the
            queue is endless.
        overhead_bytes: that each packet takes beyond its payload, 0 to 65,535.
    """

    rate_kbps: float
    queue_ms: float | None = None
    overhead_bytes: int = 28

    def __post_init__(self) -> None:
        check_range("rate_kbps", self.rate_kbps, 0.001, 1e9)
        if self.queue_ms is not None:
            check_range("queue_ms", self.queue_ms, 0, 600_000)
        check_whole("overhead_bytes", self.overhead_bytes, 0, 0xFFFF)

    @property
    def expected_rate(self) -> float:
        """0: what it erases depends on how much is sent; the statistics say what had to be."""
        return 0.0

    @property
    def counts_copies(self) -> bool:
        """They take their time on the link."""
        return True

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        kept = rng.kept if isinstance(rng, CachedRng) else {}
        times, kept[_SENT] = self.through(batch, kept.get(_SENT, 0))
        return times

    def through(self, batch: PacketBatch, sent: int) -> tuple[Doubles, int]:
        """When packets have been sent, as a draw has it, and the bits of all so far; `sent`: of those before them."""
        bits = np.where(batch.erased, 0, 8 * (batch.length + int(self.overhead_bytes)))
        after = sent + np.cumsum(bits)
        times = after / self.rate_kbps
        if self.queue_ms is not None:
            # Nothing leaves the queue while a round comes: who is behind one that was turned away is turned away too.
            late = ((after - bits) / self.rate_kbps > self.queue_ms) & ~batch.erased
            times = np.where(late, np.inf, times)
        return times, int(after[-1]) if len(after) else sent

    def apply(self, batch: PacketBatch, drawn: Doubles, frame: FrameInfo) -> PacketBatch:
        return with_erased(batch, np.isinf(drawn))

    def apply_timed(self, timed_batch: TimedBatch, drawn: Doubles) -> TimedBatch:
        # Of two links in a row the slower one decides, as good as alone.
        return replace(timed_batch, queue_ms=np.maximum(timed_batch.queue_ms, drawn))

    def count(self, batch: PacketBatch, drawn: Doubles) -> tuple[int, int]:
        return int(np.count_nonzero(~batch.erased)), int(np.count_nonzero(np.isinf(drawn)))

    def count_variance(self, trials: int) -> float:
        return 0.0

    def tally(self) -> Tally:
        return _QueueTally(self)


class _QueueTally(Tally):
    """What was turned away, beside what had to be of these very packets. Nothing of it is chance: the variance is 0."""

    def __init__(self, fault: RateLimit) -> None:
        super().__init__(fault)
        self._link = fault
        self._sent = self._expected = 0

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        super().add(batch, drawn)
        times, self._sent = self._link.through(batch, self._sent)
        self._expected += int(np.count_nonzero(np.isinf(times)))

    def score(self) -> Score:
        return Score(self._trials, self._events, float(self._expected), 0.0)
