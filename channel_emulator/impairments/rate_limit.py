"""A link of finite rate with a first-in first-out queue in front of it.

Nothing here is random, and time is virtual: all packets of a round arrive when it begins, at an empty queue. So the
fate of a packet follows from the packets before it, and not from the speed of the sender or of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng
from gocom.channel_emulator.fault_bases.fault import EventCounts, FrameInfo, Tally, check_range, check_whole
from gocom.channel_emulator.fault_bases.timed_fault import Doubles, TimedBatch, TimedFault, with_erased
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch

_SENT = "sent_bits"
_ROUNDING = 1e-12
"""Keeps a product that is a whole number of bytes from being rounded below it."""


@IMPAIRMENTS.register("rate_limit")
@dataclass(frozen=True, slots=True)
class RateLimit(TimedFault):
    """A bottleneck link with a queue.

    Its draw is float64 [P], in ms from the beginning of the round until the packet has been sent. It is infinite if the
    queue was too long, which is an event and erases the packet. Packets that an earlier fault erased never enter the
    queue.

    Attributes:
        rate_kbps: rate of the link in kbit/s, 0.001 to 1e9.
        queue_ms: packets that would wait longer than this are erased, 0 to 600,000; None: the queue is unbounded.
        overhead_bytes: bytes on the link beyond each packet's payload, 0 to 65,535.
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
        """Always 0: the loss depends on the traffic, so the expected number of events is computed while counting."""
        return 0.0

    @property
    def counts_copies(self) -> bool:
        """Whether copies are trials of their own: yes, as they take time on the link."""
        return True

    def capacity_bytes(self, payload_bytes: int, outage_target: float, snr: Doubles | None = None) -> int | None:
        """Return the number of payload bytes that the link sends within `queue_ms`; None if the queue is unbounded.

        So no packet is erased, whatever the target. rate_kbps * queue_ms bits, less the overhead of each packet.
        """
        if self.queue_ms is None:
            return None
        room = int(self.rate_kbps * self.queue_ms / 8 * (1 + _ROUNDING))
        overhead = int(self.overhead_bytes)
        packets, rest = divmod(room, payload_bytes + overhead)
        return packets * payload_bytes + max(0, rest - overhead)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        state = rng.fault_state if isinstance(rng, CachedRng) else {}
        departures, state[_SENT] = self.departure_times(batch, state.get(_SENT, 0))
        return departures

    def departure_times(self, batch: PacketBatch, sent_bits: int) -> tuple[Doubles, int]:
        """Return when packets have been sent, as in a draw, and the number of bits of all packets so far.

        Args:
            batch: the packets.
            sent_bits: number of bits of the packets before these.
        """
        bits = np.where(batch.erased, 0, 8 * (batch.length + int(self.overhead_bytes)))
        cumulative_bits = sent_bits + np.cumsum(bits)
        departures = cumulative_bits / self.rate_kbps
        if self.queue_ms is not None:
            # Nothing leaves the queue while the round arrives, so all packets after a rejected one are rejected.
            rejected = ((cumulative_bits - bits) / self.rate_kbps > self.queue_ms) & ~batch.erased
            departures = np.where(rejected, np.inf, departures)
        return departures, int(cumulative_bits[-1]) if len(cumulative_bits) else sent_bits

    def apply(self, batch: PacketBatch, drawn: Doubles, frame: FrameInfo) -> PacketBatch:
        return with_erased(batch, np.isinf(drawn))

    def apply_timed(self, timed_batch: TimedBatch, drawn: Doubles) -> TimedBatch:
        # Of two links in series the slower one determines the departure times, almost exactly.
        return replace(timed_batch, queue_ms=np.maximum(timed_batch.queue_ms, drawn))

    def count(self, batch: PacketBatch, drawn: Doubles) -> tuple[int, int]:
        return int(np.count_nonzero(~batch.erased)), int(np.count_nonzero(np.isinf(drawn)))

    def count_variance(self, trials: int) -> float:
        return 0.0

    def tally(self) -> Tally:
        return _QueueTally(self)


class _QueueTally(Tally):
    """The counter of rejected packets, compared with the number that these packets must lead to.

    Nothing is random, so the variance is 0.
    """

    def __init__(self, fault: RateLimit) -> None:
        super().__init__(fault)
        self._rate_limit = fault
        self._sent_bits = self._expected = 0

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        super().add(batch, drawn)
        departures, self._sent_bits = self._rate_limit.departure_times(batch, self._sent_bits)
        self._expected += int(np.count_nonzero(np.isinf(departures)))

    def event_counts(self) -> EventCounts:
        return EventCounts(self._trials, self._events, float(self._expected), 0.0)
