"""A round of a frame on its way through the emulator: batches as they come, and what the chain makes of them.

Large ones are impaired, and recorded, in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gocom.channel_emulator.active_profile import ProfileRevision
from gocom.channel_emulator.chain import RoundImpairer
from gocom.channel_emulator.fault_bases.fault import FrameInfo, Score
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.stream_items import WireItem
from gocom.channel_emulator.statistics import RoundCounts
from gocom.channel_emulator.trace_recording import RoundRecorder
from gocom.common.packet_batch import PacketBatch
from gocom.common.service_metrics import SECONDS

MAX_WORK = 8192
"""Random numbers drawn on the event loop for one batch, some milliseconds; more of them are worth a thread."""
MAX_SCORED = 512
"""Packets of a round whose counts are judged on the event loop."""
_BYTES_A_NUMBER = 128
"""Payload bytes that are copied in the time of a random number, or less."""
_SECONDS = SECONDS.labels("channel_emulator", "impair")
_Left = TypeVar("_Left", PacketBatch, TimedBatch)


@dataclass(slots=True)
class RoundInTransit:
    """A round that has begun. Its batches come one after the other.

    Attributes:
        info: which round, of which frame.
        in_force: the setting of the channel that it began with.
        impairer: through the chain of that.
        counts: of its packets.
        codec: the name of the header's case, for metrics.
        trace: whoever records it.
        packets: that it has at least, by the sequence numbers that came.
    """

    info: FrameInfo
    in_force: ProfileRevision
    impairer: RoundImpairer
    counts: RoundCounts
    codec: str
    trace: RoundRecorder | None
    packets: int = 0

    async def impair(self, item: WireItem) -> bytes | None:
        """A batch after the chain, as an item; None when nothing is left of it. Raises InvalidInput."""
        arrived = item.batch()
        left = await self._pass(arrived, self._apply)
        gone = np.flatnonzero(left.erased)
        self.counts.add(arrived, left)
        return None if len(gone) == len(arrived) else item.changed(arrived, left, gone)

    async def apply_timed(self, item: WireItem) -> TimedBatch:
        """A batch after a timed chain. Raises InvalidInput."""
        arrived = item.batch()
        timed_batch = await self._pass(arrived, self._apply_timed)
        self.counts.add(arrived, timed_batch.batch, timed_batch.copies)
        return timed_batch

    async def scores(self) -> Sequence[Score]:
        """Its counts beside theory; in a thread for long rounds, where packets of many kinds take an integral each."""
        if self.counts.packets_in <= MAX_SCORED:
            return self.impairer.scores()
        return await asyncio.to_thread(self.impairer.scores)

    async def _pass(self, arrived: PacketBatch, through: Callable[[PacketBatch], _Left]) -> _Left:
        self.packets = max(self.packets, arrived.span.last + 1)
        began = time.perf_counter()
        if self.impairer.work(arrived) + len(arrived.payload) / _BYTES_A_NUMBER <= MAX_WORK:
            left = through(arrived)
        else:
            # In a thread: a large batch under many flips takes long enough to starve other sessions.
            left = await asyncio.to_thread(through, arrived)
        _SECONDS.observe(time.perf_counter() - began)
        return left

    def _apply(self, arrived: PacketBatch) -> PacketBatch:
        left = self.impairer.apply(arrived)
        if self.trace is not None:
            self.trace.add(arrived, left)
        return left

    def _apply_timed(self, arrived: PacketBatch) -> TimedBatch:
        timed_batch = self.impairer.apply_timed(arrived)
        if self.trace is not None:
            self.trace.add(arrived, timed_batch.batch)
        return timed_batch
