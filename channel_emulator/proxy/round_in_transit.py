"""A round of a frame on its way through the emulator, batch by batch.

Large batches are impaired and recorded in a thread.
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
from gocom.channel_emulator.fault_bases.fault import EventCounts, FrameInfo
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.wire_items import WireItem
from gocom.channel_emulator.statistics import RoundCounts
from gocom.channel_emulator.trace_recording import RoundRecorder
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.service_metrics import SECONDS

MAX_WORK = 8192
"""Random numbers drawn on the event loop for one batch, which takes some milliseconds; more are drawn in a thread."""
MAX_PACKETS_COUNTED_INLINE = 512
"""Largest number of packets of a round whose event counts are computed on the event loop."""
_BYTES_PER_DRAW = 128
"""Payload bytes that can be copied in the time of drawing a random number."""
_SECONDS = SECONDS.labels("channel_emulator", "impair")
_Impaired = TypeVar("_Impaired", PacketBatch, TimedBatch)


@dataclass(slots=True)
class RoundInTransit:
    """A round that has begun. Its batches are processed one after the other.

    Attributes:
        info: the frame and round.
        profile_revision: the profile that was active when the round began.
        impairer: the state of that profile's chain for the round.
        counts: packet counts so far.
        codec: name of the codec's field in the frame header, for metrics.
        recorder: recorder of the round; None: nobody records.
    """

    info: FrameInfo
    profile_revision: ProfileRevision
    impairer: RoundImpairer
    counts: RoundCounts
    codec: str
    recorder: RoundRecorder | None

    async def impair(self, item: WireItem) -> bytes | None:
        """Apply the chain to a batch and return it as an item; None if all packets are erased.

        Raises:
            InvalidInput: the batch is not valid.
        """
        arrived = item.batch()
        impaired = await self._run(arrived, self._apply)
        erased = np.flatnonzero(impaired.erased)
        self.counts.add(arrived, impaired)
        return None if len(erased) == len(arrived) else item.serialize_with(arrived, impaired, erased)

    async def apply_timed(self, item: WireItem) -> TimedBatch:
        """Apply a timed chain to a batch.

        Raises:
            InvalidInput: the batch is not valid.
        """
        arrived = item.batch()
        timed_batch = await self._run(arrived, self._apply_timed)
        self.counts.add(arrived, timed_batch.batch, timed_batch.copies)
        return timed_batch

    async def event_counts(self) -> Sequence[EventCounts]:
        """Return the event counts of the faults.

        Long rounds are counted in a thread, as each kind of packet may cost an integral.
        """
        if self.counts.packets_in <= MAX_PACKETS_COUNTED_INLINE:
            return self.impairer.event_counts()
        return await asyncio.to_thread(self.impairer.event_counts)

    async def _run(self, arrived: PacketBatch, apply: Callable[[PacketBatch], _Impaired]) -> _Impaired:
        if arrived.sequence_range.last >= self.info.packets:
            # A trace cannot hold such a packet, and no receiver takes it.
            raise InvalidInput(
                f"batch.sequence: {arrived.sequence_range.last} is not below {self.info.packets}, the number of "
                "packets that the header announced"
            )
        began = time.perf_counter()
        if self.impairer.work(arrived) + len(arrived.payload) / _BYTES_PER_DRAW <= MAX_WORK:
            impaired = apply(arrived)
        else:
            # A large batch with many flips takes long enough to starve other sessions, so it is impaired in a thread.
            impaired = await asyncio.to_thread(apply, arrived)
        _SECONDS.observe(time.perf_counter() - began)
        return impaired

    def _apply(self, arrived: PacketBatch) -> PacketBatch:
        impaired = self.impairer.apply(arrived)
        if self.recorder is not None:
            self.recorder.add(arrived, impaired)
        return impaired

    def _apply_timed(self, arrived: PacketBatch) -> TimedBatch:
        timed_batch = self.impairer.apply_timed(arrived)
        if self.recorder is not None:
            self.recorder.add(arrived, timed_batch.batch)
        return timed_batch
